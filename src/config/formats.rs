//! The forms of texts, by their `format` in the schema.

use super::address::{
    HostPatternText, HttpUrl, IssuerUrl, ListenAddress, Network, ProxyUrl, StraightText,
    TunnelText, UpstreamUrl,
};
use super::header::{
    CorsHeader, FieldName, HeaderMark, HeaderPattern, HeaderPrefix, HeaderText, IdentityHeader,
    RequestPartText, ResponseHeader, TokenHeader, UpstreamHeader,
};
use super::name::{
    Audience, BasicUser, ClaimName, ClaimValue, ClientId, CookieName, CorsOrigin, ExtraParameter,
    HostValue, KeyId, Method, Name, PathPattern, PathPrefix, Resource, Scope, ServerName,
    StatusAndError, Tenant, TokenPrefix, WebOriginText,
};
use super::token_text::{FileMode, FileOwner, JsonPointer, ParameterName, TokenPlaceText};
use super::value::{
    FilePath, GoDuration, Percent, Size, StoreUrl, TextValue, Timestamp, WrongForm,
};

/// A form and its check.
pub(super) struct Format {
    /// The name in the schema.
    pub name: &'static str,
    /// The expected form, for messages.
    pub shape: &'static str,
    /// Checks the form of a text.
    pub check: fn(&str) -> Result<(), WrongForm>,
}

const fn of<T: TextValue>() -> Format {
    Format {
        name: T::FORMAT,
        shape: T::SHAPE,
        check: check::<T>,
    }
}

fn check<T: TextValue>(text: &str) -> Result<(), WrongForm> {
    text.parse::<T>().map(drop)
}

const ALL: &[Format] = &[
    of::<Audience>(),
    of::<BasicUser>(),
    of::<ClaimName>(),
    of::<ClaimValue>(),
    of::<ClientId>(),
    of::<CookieName>(),
    of::<CorsHeader>(),
    of::<CorsOrigin>(),
    of::<ExtraParameter>(),
    of::<FieldName>(),
    of::<FileMode>(),
    of::<FileOwner>(),
    of::<FilePath>(),
    of::<GoDuration>(),
    of::<HeaderMark>(),
    of::<HeaderPattern>(),
    of::<HeaderPrefix>(),
    of::<HeaderText>(),
    of::<HostPatternText>(),
    of::<HostValue>(),
    of::<HttpUrl>(),
    of::<IdentityHeader>(),
    of::<IssuerUrl>(),
    of::<JsonPointer>(),
    of::<KeyId>(),
    of::<ListenAddress>(),
    of::<Method>(),
    of::<Name>(),
    of::<Network>(),
    of::<ParameterName>(),
    of::<PathPattern>(),
    of::<PathPrefix>(),
    of::<Percent>(),
    of::<ProxyUrl>(),
    of::<RequestPartText>(),
    of::<Resource>(),
    of::<ResponseHeader>(),
    of::<Scope>(),
    of::<ServerName>(),
    of::<Size>(),
    of::<StatusAndError>(),
    of::<StoreUrl>(),
    of::<StraightText>(),
    of::<Timestamp>(),
    of::<TokenPlaceText>(),
    of::<Tenant>(),
    of::<TokenHeader>(),
    of::<TunnelText>(),
    of::<TokenPrefix>(),
    of::<UpstreamHeader>(),
    of::<UpstreamUrl>(),
    of::<WebOriginText>(),
];

/// Finds a form by its name.
pub(super) fn find(name: &str) -> Option<&'static Format> {
    ALL.iter().find(|format| format.name == name)
}
