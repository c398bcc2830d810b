//! Parts of a request that equal claims of its token: a device's own token reads only its own
//! device.

use http::{HeaderMap, HeaderName, header};

use super::patterns;
use crate::domain::pattern::{InvalidPattern, Pattern};
use crate::domain::query;
use crate::domain::settings::PathCase;
use crate::verifier::token::TokenFacts;
use crate::verifier::{Access, EqualNeed, Request, RequestPart, RuleConfig};

/// The beginning under which grpc-gateway forwards a header as gRPC metadata.
const GRPC_METADATA: &str = "grpc-metadata-";

/// The equalities of one rule.
pub(super) struct Equals {
    needs: Vec<(RequestPart, usize)>,
    /// The rule's patterns, in the widest letter case; empty if no segment is compared.
    patterns: Vec<Pattern>,
    case: PathCase,
}

/// Why the parts of a request do not equal the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotEqual {
    /// A part is missing, or differs from the claim.
    Differs,
    /// A header occurs twice, perhaps in two spellings, or is removed before the service gets it.
    Header,
    /// A parameter of the query.
    Query(query::Unclear),
}

impl NotEqual {
    /// The fault of the request; `None` if the reason says enough.
    pub fn detail(self) -> Option<String> {
        match self {
            Self::Differs => None,
            Self::Header => Some(
                "the header occurs more than once, in another spelling, or as a field of the \
                 connection"
                    .to_owned(),
            ),
            Self::Query(unclear) => Some(unclear.to_string()),
        }
    }
}

impl Equals {
    /// Compiles the equalities of a rule; `None` if it has none. `place` gives the index of a claim.
    pub fn compile(
        config: &RuleConfig,
        case: PathCase,
        place: &mut impl FnMut(&str) -> usize,
    ) -> Result<Option<Self>, InvalidPattern> {
        let equals: &[EqualNeed] = match &config.access {
            Access::Token(needs) => &needs.equals,
            Access::Public | Access::Optional => &[],
        };
        if equals.is_empty() {
            return Ok(None);
        }
        let compares_path = equals
            .iter()
            .any(|need| matches!(need.part, RequestPart::Segment(_)));
        let patterns = if compares_path {
            let folded = |pattern: &Pattern| pattern.folded(case.widest());
            patterns(config)?.iter().map(folded).collect()
        } else {
            Vec::new()
        };
        let needs = equals
            .iter()
            .map(|need| (need.part.clone(), place(&need.claim)));
        Ok(Some(Self {
            needs: needs.collect(),
            patterns,
            case,
        }))
    }

    /// Whether each part equals its claim, or one of the claim's items.
    pub fn check(&self, request: &Request<'_>, token: &TokenFacts) -> Result<(), NotEqual> {
        self.needs.iter().try_for_each(|(part, claim)| {
            let is_equal = match part {
                RequestPart::Segment(name) => {
                    self.segments_equal(request, name, |segment| token.claim_is(*claim, segment))
                }
                RequestPart::Query(name) => {
                    let query = request.query.unwrap_or_default();
                    let value = query::parameter(query, name).map_err(NotEqual::Query)?;
                    value.is_some_and(|value| token.claim_is(*claim, &value))
                }
                RequestPart::Header(name) => only_value(request.headers, name)?
                    .is_some_and(|value| token.claim_is(*claim, value)),
            };
            is_equal.then_some(()).ok_or(NotEqual::Differs)
        })
    }

    /// Whether the named segment is equal in each pattern that a server could read the path as.
    fn segments_equal(
        &self,
        request: &Request<'_>,
        name: &str,
        is_equal: impl Fn(&str) -> bool,
    ) -> bool {
        let folding = self.case.widest();
        let folded = || request.path.segments().map(|segment| folding.of(segment));
        let mut matching = self
            .patterns
            .iter()
            .filter(|pattern| pattern.matches_segments(folded()))
            .peekable();
        matching.peek().is_some()
            && matching.all(|pattern| {
                let place = pattern.place_of(name);
                let segment = place.and_then(|place| request.path.segments().nth(place));
                segment.is_some_and(|segment| is_equal(&segment))
            })
    }
}

/// The value of a header that reaches the service as the rule sees it; `None` without the header.
fn only_value<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, NotEqual> {
    let imitates = |key: &HeaderName| key != name && is_read_as(key.as_str(), name.as_str());
    let is_dropped = || {
        let lists = headers.get_all(header::CONNECTION).iter();
        lists.filter_map(|list| list.to_str().ok()).any(|list| {
            let mut fields = list.split(',').map(str::trim);
            fields.any(|field| field.eq_ignore_ascii_case(name.as_str()))
        })
    };
    if headers.keys().any(imitates) || is_dropped() {
        return Err(NotEqual::Header);
    }
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(NotEqual::Header);
    }
    Ok(std::str::from_utf8(value.as_bytes()).ok())
}

/// Whether an upstream could read one header name as another: CGI and others fold all marks, and
/// grpc-gateway removes its own beginning.
fn is_read_as(key: &str, name: &str) -> bool {
    let fold = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte.to_ascii_lowercase()
        } else {
            b'-'
        }
    };
    let is_equal = |one: &str, other: &str| one.bytes().map(fold).eq(other.bytes().map(fold));
    let metadata = key
        .split_at_checked(GRPC_METADATA.len())
        .filter(|(beginning, _)| is_equal(beginning, GRPC_METADATA));
    is_equal(metadata.map_or(key, |(_, rest)| rest), name)
}

#[cfg(test)]
mod tests;
