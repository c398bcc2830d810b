//! Where tokens come from and where they go: the texts of the configuration about it.

use std::str::FromStr;

use super::name::checked_text;
use super::value::{WrongForm, require, text_value};

checked_text!(
    /// The name of a parameter of a query.
    ParameterName, "parameter-name", "the name of a parameter such as `api_key`", |text| {
        let is_unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        require(
            matches!(text.len(), 1..=64)
                && text.bytes().all(is_unreserved)
                && text.bytes().any(|byte| byte.is_ascii_alphanumeric()),
            "the name of a parameter consists of 1 to 64 letters, digits, `-`, `_`, `.` and `~`",
        )
    }
);

checked_text!(
    /// The permissions of a file that the sidecar writes.
    FileMode, "file-mode", "permissions such as `\"0640\"`", |text| {
        let mode = u32::from_str_radix(text, 8).ok().filter(|_| matches!(text.len(), 3 | 4));
        let mode = mode.ok_or(WrongForm("the mode must be octal, such as `0640`"))?;
        require(mode & 0o400 != 0, "the owner must be able to read the file")?;
        require(
            mode & !0o644 == 0,
            "only its owner may write the file, and it is no program: use `0600`, `0640` or `0644`",
        )
    }
);

impl FileMode {
    /// The permission bits.
    pub fn bits(&self) -> u32 {
        u32::from_str_radix(&self.0, 8).unwrap_or(0o600)
    }
}

checked_text!(
    /// The owner of a file that the sidecar writes.
    FileOwner, "file-owner", "an owner such as `app:app`", |text| {
        let is_name = |name: &str| {
            let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b':' | b'/');
            name.len() <= 64 && name.bytes().all(allowed)
        };
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        require(
            is_name(user) && is_name(group) && !(user.is_empty() && group.is_empty()),
            "it must be `user`, `user:group` or `:group`, with names or numbers",
        )
    }
);

checked_text!(
    /// A JSON Pointer (RFC 6901).
    JsonPointer, "json-pointer", "a JSON Pointer such as `/data/token`", |text| {
        require(
            text.starts_with('/') && !text.chars().any(char::is_control),
            "a JSON Pointer begins with `/` (RFC 6901)",
        )
    }
);

checked_text!(
    /// The place of a token in an answer.
    TokenPlaceText, "token-place",
    "a JSON Pointer such as `/data/token`, or a header such as `header X-Auth-Token`", |text| {
        match text.strip_prefix("header ") {
            Some(name) => require(
                http::HeaderName::from_bytes(name.as_bytes()).is_ok(),
                "the text behind `header` is not a valid header name",
            ),
            None => text.parse::<JsonPointer>().map(drop),
        }
    }
);
