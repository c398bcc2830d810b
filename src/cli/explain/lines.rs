//! The output of `explain`, one fact per line.

use serde_json::{Value, json};

use crate::domain::reason::Reason;
use crate::proxy::dry_run::Decision;
use crate::proxy::{answer, inbound};
use crate::verifier::rules::Nearest;
use crate::verifier::{Access, Mode, Needs, RuleConfig};

/// The scopes that a rule requires.
pub(super) fn scopes_of(needs: &Needs) -> String {
    let all = (!needs.scopes.is_empty()).then(|| format!("all of {}", needs.scopes));
    let any = (!needs.any_scope.is_empty()).then(|| format!("one of {}", needs.any_scope));
    all.into_iter().chain(any).collect::<Vec<_>>().join(" and ")
}

/// The claims that a rule requires.
pub(super) fn claims_of(needs: &Needs) -> String {
    let claim =
        |need: &crate::verifier::ClaimNeed| format!("{} = {}", need.name, need.values.join(" or "));
    needs
        .claims
        .iter()
        .map(claim)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The parts of the request that a rule compares with claims.
pub(super) fn equals_of(needs: &Needs) -> String {
    let equals = needs.equals.iter();
    let equals = equals.map(|need| format!("{} = {}", need.part, need.claim));
    equals.collect::<Vec<_>>().join(", ")
}

/// The requests that a rule is for, beside path and method.
fn conditions_of(rule: &RuleConfig) -> String {
    let hosts = rule.conditions.hosts.iter().map(ToString::to_string);
    let networks = rule.conditions.networks.iter().map(ToString::to_string);
    let lists = [
        ("host", hosts.collect::<Vec<_>>()),
        ("from", networks.collect()),
    ];
    let lists = lists.iter().filter(|(_, list)| !list.is_empty());
    lists
        .map(|(what, list)| format!(", {what} {}", list.join(" ")))
        .collect()
}

/// The width of the first column.
const WIDTH: usize = 14;

/// The output lines.
#[derive(Default)]
pub(super) struct Lines {
    text: String,
    /// The file of the rules, where more than one file may be meant.
    file: Option<String>,
}

impl Lines {
    pub fn text(&self) -> &str {
        self.text.trim_end()
    }

    /// Names the file of the rules.
    pub fn name_file(&mut self, file: String) {
        self.file = Some(file);
    }

    fn place(&self, line: usize) -> String {
        match &self.file {
            Some(file) => format!("{file}:{line}"),
            None => format!("on line {line}"),
        }
    }

    /// The lines as pairs of subject and text. A continuation line repeats the subject.
    pub fn members(&self) -> Vec<Value> {
        let mut named = "";
        let pairs = self.text().lines().map(|line| {
            let (what, said) = line.split_at_checked(WIDTH).unwrap_or((line, ""));
            if !what.trim().is_empty() {
                named = what.trim();
            }
            json!({ "what": named, "said": said.trim() })
        });
        pairs.collect()
    }

    /// The listener that handles the request.
    pub fn listener(&mut self, listener: &inbound::Config) {
        let mut rules = listener.verifier.rules.iter();
        let enforces = rules.any(|rule| rule.mode == Some(Mode::Enforce));
        let shadow = match listener.verifier.mode {
            Mode::Shadow if enforces => ", in shadow mode: only rules with `mode: enforce` refuse",
            Mode::Shadow => ", in shadow mode: nothing is enforced",
            Mode::Enforce => "",
        };
        self.add("listener", format!("{}{shadow}", listener.name));
    }

    pub fn add(&mut self, what: &str, text: String) {
        self.text
            .push_str(format!("{what:<WIDTH$} {text}").trim_end());
        self.text.push('\n');
    }

    pub fn rule(&mut self, rule: Option<(usize, &RuleConfig)>, count: usize) {
        let Some((position, rule)) = rule else {
            return self.add("rule", format!("none of {count} matches"));
        };
        let methods = if rule.methods.is_empty() {
            String::new()
        } else {
            format!(", {}", rule.methods.join(" "))
        };
        let paths = rule.paths.join(" ");
        let conditions = conditions_of(rule);
        self.add(
            "rule",
            format!(
                "{} of {count}, {}: {paths}{methods}{conditions}",
                position + 1,
                self.place(rule.line)
            ),
        );
        match rule.mode {
            Some(Mode::Shadow) => self.add("mode", "shadow: the rule refuses nothing".to_owned()),
            Some(Mode::Enforce) => self.add("mode", "enforce".to_owned()),
            None => {}
        }
        let needs = match &rule.access {
            Access::Public => "nothing: the rule is public".to_owned(),
            Access::Optional => "no token, or a valid one".to_owned(),
            Access::Token(needs) => {
                let further = [
                    ("authority", needs.authorities.join(" or ")),
                    ("scopes", scopes_of(needs)),
                    ("claims", claims_of(needs)),
                    ("equal", equals_of(needs)),
                ];
                let further = further.iter().filter(|(_, text)| !text.is_empty());
                further.fold("a valid token".to_owned(), |said, (what, text)| {
                    format!("{said}; {what}: {text}")
                })
            }
        };
        self.add("needs", needs);
    }

    /// The nearest rule if none matches.
    pub fn nearest(&mut self, nearest: &Nearest, rule: &RuleConfig, count: usize) {
        let differences: Vec<_> = nearest
            .differences
            .iter()
            .map(ToString::to_string)
            .collect();
        let (place, line) = (nearest.rule + 1, self.place(rule.line));
        let text = format!(
            "{place} of {count}, {line}: {}; {}",
            nearest.pattern,
            differences.join("; ")
        );
        self.add("nearest rule", text);
    }

    /// Prints the decision; returns whether the request passes.
    pub fn decision(&mut self, listener: &inbound::Config, decision: Decision) -> bool {
        let status = |reason| answer::table(reason).map_or(500, |row| row.status);
        let (text, passes, reason) = match decision {
            Decision::Own => ("allow (local)".to_owned(), true, Reason::Local),
            Decision::Passes(reason) => (format!("allow ({})", reason.code()), true, reason),
            Decision::PassesInShadow(reason) => (
                format!(
                    "shadow ({}), enforced it would be {}",
                    reason.code(),
                    status(reason)
                ),
                true,
                reason,
            ),
            Decision::Refused(reason) => (
                format!("deny ({}), {}", reason.code(), status(reason)),
                false,
                reason,
            ),
        };
        if passes && decision != Decision::Own && listener.limits.is_some() {
            let text = "one request is within them; the counters of the running sidecar are not \
                available here";
            self.add("limits", text.to_owned());
        }
        self.add("decision", text);
        self.add("", reason.meaning().to_owned());
        if !matches!(decision, Decision::Own | Decision::Passes(_)) {
            self.add("advice", reason.advice().to_owned());
        }
        passes
    }
}
