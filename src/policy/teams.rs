//! Which agent is in which team, from the operator's entities file. It says nothing of who may inspect a team.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::error::{Cause, Position, Problem};
use super::source::Source;
use crate::cc::AgentId;
use crate::yaml;

/// The teams of each agent that is in one.
#[derive(Debug, Default)]
pub(super) struct Teams {
    of: HashMap<AgentId, BTreeSet<Arc<str>>>,
}

/// The entities file, as a person writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    teams: BTreeMap<String, Vec<String>>,
}

impl Teams {
    /// Reads `teams: {name: [agent, ...]}`, in YAML or JSON.
    pub(super) fn parse(source: &Source) -> Result<Self, Vec<Problem>> {
        let raw: Raw = yaml::from_str(&source.text).map_err(|error| vec![refused(source, &error)])?;
        let (mut teams, mut problems) = (Self::default(), Vec::new());
        let mut refuse = |message| problems.push(Problem::of_file(&source.name, Cause::Entities { message }));
        for (team, agents) in raw.teams {
            if !is_name(&team) {
                refuse(format!("team {team:?}: a team's name is 1 to 128 printable characters"));
            }
            let team: Arc<str> = Arc::from(team);
            for agent in agents {
                match agent.parse::<AgentId>() {
                    Ok(agent) => {
                        teams.of.entry(agent).or_default().insert(Arc::clone(&team));
                    }
                    Err(error) => refuse(format!("team {team:?}: {agent:?} is {error}")),
                }
            }
        }
        if problems.is_empty() { Ok(teams) } else { Err(problems) }
    }

    /// The teams that an agent is in, by name.
    pub(super) fn of(&self, agent: AgentId) -> impl Iterator<Item = &Arc<str>> {
        self.of.get(&agent).into_iter().flatten()
    }
}

/// As in the claim `teams`, which it is compared with.
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control) && text.trim() == text
}

fn refused(source: &Source, error: &yaml::Error) -> Problem {
    let position = error.line.map(|line| Position { line, column: 1 });
    let at = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path) };
    let cause = Cause::Entities { message: format!("{at}{}", error.message) };
    Problem { file: Arc::clone(&source.name), position, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Teams, String> {
        let problems = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Teams::parse(&Source::new("teams.yaml", text)).map_err(problems)
    }

    fn of(teams: &Teams, agent: u32) -> Vec<String> {
        teams.of(AgentId::try_from(agent).expect("an agent")).map(ToString::to_string).collect()
    }

    #[test]
    fn yaml_and_json_name_the_teams_of_an_agent() {
        for text in [
            "teams:\n  sales: [4977, \"4978\"]\n  night shift: [4977]\n",
            r#"{"teams": {"sales": ["4977", "4978"], "night shift": [4977]}}"#,
        ] {
            let teams = parse(text).expect(text);
            assert_eq!(of(&teams, 4977), ["night shift", "sales"]);
            assert_eq!(of(&teams, 4978), ["sales"]);
            assert!(of(&teams, 4979).is_empty());
        }
    }

    #[test]
    fn r24_an_agent_in_a_team_has_one_spelling() {
        for bad in ["04977", "+4977", "\" 4977\"", "1e3", "0x1371", "100", "1000000", "4977.0", "[4977]", "null", "~"] {
            assert!(parse(&format!("teams:\n  sales: [{bad}]\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn r19_anything_else_is_refused_with_all_that_is_wrong() {
        for bad in ["", "teams:", "team: {}", "teams: []", "teams: {}\nmore: 1", "teams: {a: [101], a: [102]}", "[]"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let error = parse("teams:\n  \"\": [101]\n  b: [7]\n  \"c\\n\": [8]\n").expect_err("four mistakes");
        assert_eq!(error.lines().count(), 4, "{error}");
        let error = parse("teams:\n  a: [101]\n  a: [102]\n").expect_err("a team twice");
        assert!(error.starts_with("teams.yaml:3:"), "{error}");
    }
}
