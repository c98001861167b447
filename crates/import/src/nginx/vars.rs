//! Variables whose values stand in the file: `map`, `geo`, `split_clients` and `set`.
//!
//! A text with such variables becomes the list of texts that it can be, each with the condition under which it is that
//! one, or with its part of the traffic. What a condition means is not evaluated.
//!
//! Limits: at most [`BRANCHES_MAX`] texts, [`NESTED_MAX`] variables within variables and [`WORK_MAX`] of work over all
//! (a value may repeat another, and that a third: such texts grow without end); beyond that, and for variables
//! of a request, there is no telling.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::nginx::notes::Reader;
use crate::nginx::tree::Directive;

/// Directives that define a variable.
pub(super) const DEFINERS: &[&str] = &["map", "geo", "split_clients"];
/// Most texts that one text with variables may stand for.
const BRANCHES_MAX: usize = 256;
/// Most `set` of one block.
const LOCALS_MAX: usize = 500;
/// Bytes that all texts of one configuration may grow by before there is no telling any more.
const WORK_MAX: usize = 100_000_000;
/// What one text costs beside its bytes: it is looked up and judged.
const TEXT_WORK: usize = 500;
/// How deep a variable's value may name other variables.
const NESTED_MAX: usize = 8;
/// Variables that begin with `/` or `?` or are empty: behind them nothing decides the target.
const OF_THE_URI: &[&str] = &[
    "request_uri",
    "uri",
    "document_uri",
    "is_args",
    "args",
    "query_string",
    "1",
    "2",
    "3",
    "4",
];

/// One text that a text with variables can be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Branch {
    /// When it is this one; the first branch whose conditions hold counts.
    pub(super) conditions: Vec<String>,
    /// Its part among branches with the same conditions.
    pub(super) part: f64,
    /// The text.
    pub(super) text: String,
}

/// Values with their conditions; the first whose condition holds counts.
type Cases = Vec<(Option<String>, String)>;

/// What a variable can be.
#[derive(Debug)]
enum Variable {
    /// The first whose condition holds; the last has none.
    Cases(Cases),
    /// By part of the traffic.
    Split(Vec<(f64, String)>),
}

/// Values that `set` gave on the way to a place: those of the block in file order, and before them those around it.
#[derive(Debug, Clone, Default)]
pub(super) struct Locals {
    outer: Option<Rc<Self>>,
    own: Vec<(String, Option<String>, String)>,
}

impl Locals {
    /// Within a block around which `outer` holds.
    pub(super) fn within(outer: &Rc<Self>) -> Self {
        Self {
            outer: Some(Rc::clone(outer)),
            own: Vec::new(),
        }
    }

    /// Notes `set $name value`; `condition`: the `if` around it.
    pub(super) fn set(&mut self, directive: &Directive, condition: Option<&str>) {
        // The one beyond the last is kept too: it says that there is no telling.
        if self.own.len() <= LOCALS_MAX {
            let name = directive.arg(0).trim_start_matches('$').to_owned();
            let condition = condition.map(str::to_owned);
            self.own
                .push((name, condition, directive.arg(1).to_owned()));
        }
    }

    /// Whether nothing is noted for `name` in this block.
    pub(super) fn is_unset(&self, name: &str) -> bool {
        self.own.iter().all(|(local, ..)| local != name)
    }

    /// What `name` can be: the last unconditional value and, before it, the conditional ones set since. `None`: it is
    /// not set. The error: too many are set to tell.
    fn cases(&self, name: &str) -> Result<Option<Cases>, String> {
        let mut cases = Vec::new();
        let mut layer = Some(self);
        while let Some(locals) = layer {
            if locals.own.len() > LOCALS_MAX {
                return Err(format!("${name}"));
            }
            for (_, condition, value) in locals.own.iter().rev().filter(|(local, ..)| local == name)
            {
                cases.push((condition.clone(), value.clone()));
                if condition.is_none() {
                    return Ok(Some(cases));
                }
            }
            layer = locals.outer.as_deref();
        }
        if cases.is_empty() {
            return Ok(None);
        }
        // Set in an `if` only: empty otherwise.
        cases.push((None, String::new()));
        Ok(Some(cases))
    }
}

/// The variables that `http` or `stream` defines.
#[derive(Debug, Default)]
pub(super) struct Variables {
    held: BTreeMap<String, Variable>,
    work: Cell<usize>,
}

impl Variables {
    /// Takes in a `map`, `geo` or `split_clients` block; `false`: it is none, or not formed like one.
    pub(super) fn define(reader: &mut Reader<'_, '_>, directive: &Directive) -> bool {
        let Some(name) = directive.args().last() else {
            return false;
        };
        let Some(name) = name.text.strip_prefix('$').map(str::to_owned) else {
            return false;
        };
        let source = match (directive.name(), directive.args().len()) {
            ("geo", 1) => "$remote_addr",
            ("map" | "geo" | "split_clients", 2) => directive.arg(0),
            _ => return false,
        };
        let variable = if directive.name() == "split_clients" {
            split(reader, directive)
        } else {
            Variable::Cases(cases(directive, source))
        };
        reader.variables.held.insert(name, variable);
        true
    }

    /// What `template` can be. `is_url`: it starts with a scheme, and what follows the host does not matter.
    /// The error is the variable that cannot be told.
    pub(super) fn expand(
        &self,
        locals: &Locals,
        template: &str,
        is_url: bool,
    ) -> Result<Vec<Branch>, String> {
        let expander = Expander {
            variables: self,
            locals,
            is_url,
        };
        expander.expand(template, 0)
    }
}

struct Expander<'v> {
    variables: &'v Variables,
    locals: &'v Locals,
    is_url: bool,
}

/// A piece of a text with variables.
pub(super) enum Part<'t> {
    Text(&'t str),
    Variable(&'t str),
}

impl Expander<'_> {
    fn expand(&self, template: &str, depth: usize) -> Result<Vec<Branch>, String> {
        let mut branches = vec![Branch {
            conditions: Vec::new(),
            part: 1.0,
            text: String::new(),
        }];
        for part in parts(template) {
            if self.is_url && branches.iter().all(|branch| has_target(&branch.text)) {
                break;
            }
            match part {
                Part::Text(text) => branches.iter_mut().for_each(|b| b.text.push_str(text)),
                Part::Variable(name) => {
                    let Some(values) = self.values(name, depth)? else {
                        if self.is_url && OF_THE_URI.contains(&name) && depth == 0 {
                            for branch in &mut branches {
                                branch.text.push('/');
                            }
                            break;
                        }
                        return Err(format!("${name}"));
                    };
                    if branches.len() * values.len() > BRANCHES_MAX {
                        return Err(format!("${name}"));
                    }
                    branches = product(&branches, &values);
                    let bytes: usize = branches.iter().map(|b| b.text.len() + TEXT_WORK).sum();
                    let work = self.variables.work.get().saturating_add(bytes);
                    self.variables.work.set(work);
                    if work > WORK_MAX {
                        return Err(format!("${name}"));
                    }
                }
            }
        }
        Ok(branches)
    }

    /// What a variable can be; `None`: no telling.
    fn values(&self, name: &str, depth: usize) -> Result<Option<Vec<Branch>>, String> {
        if depth >= NESTED_MAX {
            return Err(format!("${name}"));
        }
        let local = self.locals.cases(name)?;
        let mut values = Vec::new();
        match (local, self.variables.held.get(name)) {
            (Some(cases), _) => self.add_cases(&cases, depth, &mut values)?,
            (None, Some(Variable::Cases(cases))) => self.add_cases(cases, depth, &mut values)?,
            (None, Some(Variable::Split(parts))) => {
                for (part, template) in parts {
                    for branch in self.expand(template, depth + 1)? {
                        let part = branch.part * part;
                        values.push(Branch { part, ..branch });
                    }
                }
            }
            (None, None) => return Ok(None),
        }
        Ok(Some(values))
    }

    fn add_cases(
        &self,
        cases: &[(Option<String>, String)],
        depth: usize,
        values: &mut Vec<Branch>,
    ) -> Result<(), String> {
        for (condition, template) in cases {
            if values.len() > BRANCHES_MAX {
                return Err(template.clone());
            }
            for mut branch in self.expand(template, depth + 1)? {
                branch.conditions.splice(0..0, condition.clone());
                values.push(branch);
            }
        }
        Ok(())
    }
}

/// Whether a URL names its target already, so that what follows cannot change it.
fn has_target(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    !rest.starts_with("unix:") && rest.contains(['/', '?'])
}

fn product(branches: &[Branch], values: &[Branch]) -> Vec<Branch> {
    let pairs = branches
        .iter()
        .flat_map(|b| values.iter().map(move |v| (b, v)));
    let joined = pairs.map(|(branch, value)| Branch {
        conditions: [branch.conditions.as_slice(), &value.conditions].concat(),
        part: branch.part * value.part,
        text: format!("{}{}", branch.text, value.text),
    });
    joined.collect()
}

/// The pieces of a text.
pub(super) fn parts(template: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        let (text, after) = rest.split_at(at);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let after = after.get(1..).unwrap_or("");
        let braced = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        if let Some((name, behind)) = braced {
            parts.push(Part::Variable(name));
            rest = behind;
        } else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            let (name, behind) = after.split_at(end);
            parts.push(Part::Variable(name));
            rest = behind;
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}

/// The distinct values of a `map` or `geo` with their keys; the default, or nothing, last.
fn cases(directive: &Directive, source: &str) -> Cases {
    const FLAGS: &[&str] = &[
        "hostnames",
        "volatile",
        "ranges",
        "proxy",
        "proxy_recursive",
        "delete",
    ];
    let mut default = String::new();
    let mut by_value: Vec<(String, String, usize)> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in directive.inner() {
        let key = entry.name();
        if key == "default" {
            entry.arg(0).clone_into(&mut default);
        } else if !FLAGS.contains(&key) {
            let value = entry.arg(0);
            if let Some((_, _, count)) = index.get(value).and_then(|at| by_value.get_mut(*at)) {
                *count += 1;
            } else {
                index.insert(value, by_value.len());
                by_value.push((value.to_owned(), key.to_owned(), 1));
            }
        }
    }
    let case = |(value, key, count): (String, String, usize)| {
        let condition = if count == 1 {
            format!("{source} is `{key}`")
        } else {
            format!("{source} is `{key}` or one of {} others", count - 1)
        };
        (Some(condition), value)
    };
    // A value that is also the default needs no case of its own.
    let cases = by_value.into_iter().filter(|(value, ..)| *value != default);
    let mut cases: Vec<_> = cases.map(case).collect();
    cases.push((None, default));
    cases
}

fn split(reader: &mut Reader<'_, '_>, directive: &Directive) -> Variable {
    let mut parts = Vec::new();
    let mut total = 0.0;
    for entry in directive.inner() {
        let value = entry.arg(0).to_owned();
        let part = match entry.name() {
            "*" => 1.0 - total,
            percent => {
                let number = percent.strip_suffix('%');
                let part = number.and_then(|number| number.parse::<f64>().ok());
                let Some(part) = part.filter(|part| (0.0..=100.0).contains(part)) else {
                    let message = format!("`{percent}` is no percentage");
                    reader.refuse_at(entry, message, "write 0.01% to 100%, or `*`");
                    continue;
                };
                part / 100.0
            }
        };
        total += part;
        if total > 1.0 + 1e-9 {
            let message = "the percentages are more than 100 % together".to_owned();
            reader.refuse_at(entry, message, "lower one of them");
            break;
        }
        if part > 0.0 {
            parts.push((part, value));
        }
    }
    // What no percentage covers is the empty text.
    if total < 1.0 - 1e-9 {
        parts.push((1.0 - total, String::new()));
    }
    Variable::Split(parts)
}
