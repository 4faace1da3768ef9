//! Where the gateway is: one URL, several, and nodes.

use super::*;

#[test]
fn a_gateway_has_one_url_or_a_list() {
    let next = "as in https://10.244.154.23:8043";
    for (section, wanted) in [
        ("{}", format!("line 3: upstream.url: missing; {next}")),
        ("{urls: []}", "line 3: upstream.urls: empty; name at least one URL".to_owned()),
        (
            "{url: 'https://a', urls: ['https://b']}",
            "line 3: upstream.urls: given beside upstream.url; keep one of the two".to_owned(),
        ),
        (
            "{urls: ['https://a', 'http://b']}",
            "line 3: upstream.urls[1]: \"http://b\" is not https: the gateway is never asked without TLS".to_owned(),
        ),
        (
            "{urls: ['https://a', 'https://b', 'https://A:443/agentgateway/resource']}",
            "line 3: upstream.urls[2]: \"A:443\" is upstream.urls[0] too; name each URL once".to_owned(),
        ),
        (
            "{urls: 'https://a'}",
            "line 3: upstream.urls: a text where a list belongs; write it as a list: [first, second]".to_owned(),
        ),
    ] {
        assert_eq!(problem(&format!("upstream: {section}")), wanted);
    }
    let many: Vec<_> = (0..17).map(|number| format!("'https://h{number}'")).collect();
    let seventeen = problem(&format!("upstream: {{urls: [{}]}}", many.join(", ")));
    assert_eq!(seventeen, "line 3: upstream.urls: 17 items, at most 16");
    let rest = SMALLEST.replace("{url: 'https://10.244.154.23:8043'}", "{urls: ['https://a:8043', 'https://b']}");
    let upstream = good(&rest).upstream;
    assert_eq!(
        (upstream.urls.as_slice(), upstream.name().as_str()),
        (["a:8043", "b"].map(|at| at.parse().unwrap()).as_slice(), "a:8043")
    );
}

#[test]
fn a_node_has_a_name_and_a_place_of_its_own() {
    let name = "a node's name is 1 to 79 letters, digits, `-` and `_`, as in AgentGateway0; take what stands behind the dot of a Guid";
    for (nodes, wanted) in [
        ("{'Agent Gateway': 'https://a'}", format!("line 3: upstream.nodes.Agent Gateway: {name}")),
        ("{.AgentGateway0: 'https://a'}", format!("line 3: upstream.nodes..AgentGateway0: {name}")),
        ("{'': 'https://a'}", format!("line 3: upstream.nodes.: {name}")),
        (
            "{AgentGateway0: 'http://a'}",
            "line 3: upstream.nodes.AgentGateway0: \"http://a\" is not https: the gateway is never asked without TLS"
                .to_owned(),
        ),
        (
            "{AgentGateway0: 'https://a', AgentGateway1: 'https://a:443'}",
            "line 3: upstream.nodes.AgentGateway1: \"a:443\" is the URL of AgentGateway0 too; name each node's own URL, \
             not a load balancer's"
                .to_owned(),
        ),
        ("{AgentGateway0: 5}", "line 3: upstream.nodes.AgentGateway0: a number where a text belongs; put it in quotes".to_owned()),
        (
            "{AgentGateway0: 'https://a', AgentGateway0: 'https://b'}",
            "line 3: upstream.nodes.AgentGateway0: given twice; keep one of the two".to_owned(),
        ),
    ] {
        assert_eq!(problem(&format!("upstream: {{url: 'https://h', nodes: {nodes}}}")), wanted);
    }
    let many: Vec<_> = (0..65).map(|number| format!("n{number}: 'https://h{number}'")).collect();
    let crowd = problem(&format!("upstream: {{url: 'https://h', nodes: {{{}}}}}", many.join(", ")));
    assert_eq!(crowd, "line 3: upstream.nodes: 65 entries, at most 64");
    let text =
        SMALLEST.replace("8043'}", "8043', nodes: {AgentGateway1: 'https://b:8043', AgentGateway0: 'https://a:8043'}}");
    let nodes = good(&text).upstream.nodes;
    let nodes: Vec<_> = nodes.iter().map(|(name, at)| (name.as_str(), at.as_str())).collect();
    assert_eq!(nodes, [("AgentGateway0", "a:8043"), ("AgentGateway1", "b:8043")]);
}
