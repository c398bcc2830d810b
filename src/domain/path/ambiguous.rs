//! The reasons to refuse a path.

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum AmbiguousPath {
    /// The path does not begin with `/`.
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%2F`: one segment to some servers, two to others.
    EncodedSlash,
    /// `.` or `..` written with `%2E`, or beside `%2F` or `;`: only some servers resolve it.
    EncodedDotSegment,
    /// `\` or `%5C`: a slash to some servers.
    Backslash,
    /// A control character, raw or encoded.
    Control,
    /// `%252E`, `%252F`, `%255C`, `%2500`, `%253B`: decoded twice by some servers.
    DoubleEncoding,
    /// The decoded path is not UTF-8.
    NotUtf8,
    /// `;`: some servers cut off path parameters.
    Parameters,
    /// `#`, `?` or a space inside the path.
    Delimiter,
    /// An empty segment or a dot segment, where the service gets the path unchanged.
    NotNormal,
}

impl AmbiguousPath {
    /// The problem, as a sentence without its period.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::BadEscape => {
                "the path has a percent sign without two hexadecimal digits; send the sign as %25"
            }
            Self::EncodedSlash => "the path has an encoded slash (%2F)",
            Self::EncodedDotSegment => {
                "the path has an encoded dot segment, or one beside an encoded slash or a semicolon"
            }
            Self::Backslash => "the path has a backslash",
            Self::Control => "the path has a control character",
            Self::DoubleEncoding => "the path has a doubly encoded character (such as %252F)",
            Self::NotUtf8 => {
                "the path has escapes that are not UTF-8 (such as %F6, which is ISO 8859-1)"
            }
            Self::Parameters => "the path has `;`, which begins parameters for some servers",
            Self::Delimiter => "the path has a space, # or ?; send them as %20, %23 and %3F",
            Self::NotNormal => {
                "the path has an empty segment or a dot segment, which the proxy that asks could \
                 forward unchanged; send the path without it"
            }
        }
    }

    /// The key of an inbound listener that allows such a path with the value `keep`.
    #[must_use]
    pub fn allowed_by(self) -> Option<&'static str> {
        match self {
            Self::EncodedSlash => Some("encodedSlash"),
            Self::Parameters => Some("pathParameters"),
            Self::DoubleEncoding => Some("doubleEncoding"),
            Self::NotUtf8 => Some("nonUtf8"),
            _ => None,
        }
    }
}
