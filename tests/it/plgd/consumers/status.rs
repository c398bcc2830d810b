//! plgd's clients read an answer's JSON: a message, or a google.rpc.Status.

use serde_json::Value;

/// A google.rpc.Status, decoded by protojson without tolerance: a member that it does not know is
/// an error of its own, and hides the message.
pub fn strict_status(body: &Value) -> Result<(i64, String), String> {
    let members = body
        .as_object()
        .ok_or("syntax error: a Status is an object")?;
    let (mut code, mut message) = (0, String::new());
    for (name, value) in members {
        match (name.as_str(), value) {
            ("code", Value::Number(number)) => {
                code = number.as_i64().ok_or("invalid value for int32")?
            }
            ("message", Value::String(text)) => message.clone_from(text),
            ("details", Value::Array(_)) => {}
            ("code" | "message" | "details", _) => {
                return Err(format!("invalid value for field {name}"));
            }
            _ => return Err(format!("unknown field \"{name}\"")),
        }
    }
    Ok((code, message))
}

/// An entry of a list or an answer, as plgd reads it: of status 200 what `result` holds, a bare
/// message, or an `error`; else a Status.
pub fn message(http: u16, body: &Value) -> Result<Value, String> {
    let failed = |status: &Value| match strict_status(status) {
        Ok((code, message)) => format!("rpc error: code = {code} desc = {message}"),
        Err(why) => why,
    };
    if http != 200 {
        return Err(failed(body));
    }
    match (body.get("result"), body.get("error")) {
        (Some(result), _) => Ok(result.clone()),
        (None, Some(error)) => Err(failed(error)),
        (None, None) => Ok(body.clone()),
    }
}

/// The parts of a Token that plgd's validator reads: whether it is blacklisted, and its end (0:
/// none). Every member must have its type, unknown ones may be there.
pub fn token_entry(token: &Value) -> Result<(bool, i64), String> {
    let members = token
        .as_object()
        .ok_or("syntax error: a Token is an object")?;
    let int64 = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let texts = |value: &Value| {
        value
            .as_array()
            .is_some_and(|all| all.iter().all(Value::is_string))
    };
    let (mut blacklisted, mut expiration) = (false, 0);
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let right = match name.as_str() {
            "id" | "name" | "owner" | "clientId" | "subject" => value.is_string(),
            "version" | "issuedAt" => int64(value).is_some(),
            "expiration" => int64(value).inspect(|time| expiration = *time).is_some(),
            "audience" | "scope" => texts(value),
            "originalTokenClaims" => value.is_object(),
            "blacklisted" => {
                let flag = value.get("flag").map_or(Some(false), Value::as_bool);
                blacklisted = flag == Some(true);
                flag.is_some()
                    && value
                        .get("timestamp")
                        .is_none_or(|time| int64(time).is_some())
            }
            _ => true,
        };
        if !right {
            return Err(format!("invalid value for field {name}: {value}"));
        }
    }
    Ok((blacklisted, expiration))
}

#[test]
fn v9_a_message_is_what_result_holds_and_a_status_has_three_members() {
    use serde_json::json;
    let status = json!({"code": 16, "message": "no", "details": []});
    assert_eq!(
        message(200, &json!({"result": {"id": "1"}})),
        Ok(json!({"id": "1"}))
    );
    assert_eq!(message(200, &json!({})), Ok(json!({})));
    assert_eq!(
        message(500, &status),
        Err("rpc error: code = 16 desc = no".to_owned())
    );
    assert_eq!(
        message(200, &json!({ "error": status })),
        Err("rpc error: code = 16 desc = no".to_owned())
    );
    let more = json!({"code": 16, "message": "no", "error": "invalid_client"});
    assert_eq!(
        message(401, &more),
        Err("unknown field \"error\"".to_owned())
    );
}
