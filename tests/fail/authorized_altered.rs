//! A decision stands as the policy made it: nobody else writes its fields.

use ccgate::policy::{Authorized, RuleId};

fn under_another_rule(allowed: Authorized, rule: RuleId) -> Authorized {
    Authorized { rule, ..allowed }
}

fn main() {}
