//! JSON (RFC 8259) read the slow way, with no member twice.

/// A value.
#[derive(Debug, PartialEq)]
pub enum Json {
    Null,
    Bool,
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    /// The text of a text.
    pub fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }
}

/// Reads an object, and nothing after it.
pub fn object(text: &str) -> Option<Json> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.space();
    (reader.rest.is_empty() && matches!(value, Json::Object(_))).then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn eat(&mut self, wanted: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.space();
        match self.rest.chars().next()? {
            _ if depth > 200 => None,
            'n' => self.eat("null").map(|()| Json::Null),
            't' => self.eat("true").map(|()| Json::Bool),
            'f' => self.eat("false").map(|()| Json::Bool),
            '"' => self.string().map(Json::Text),
            '[' => {
                let mut items = Vec::new();
                self.between("[", "]", |reader| {
                    items.push(reader.value(depth + 1)?);
                    Some(())
                })?;
                Some(Json::List(items))
            }
            '{' => {
                let mut members: Vec<(String, Json)> = Vec::new();
                self.between("{", "}", |reader| {
                    reader.space();
                    let name = reader.string()?;
                    reader.space();
                    reader.eat(":")?;
                    let value = reader.value(depth + 1)?;
                    let repeated = members.iter().any(|(member, _)| *member == name);
                    members.push((name, value));
                    (!repeated).then_some(())
                })?;
                Some(Json::Object(members))
            }
            _ => self.number(),
        }
    }

    fn between(
        &mut self,
        open: &str,
        close: &str,
        mut each: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.eat(open)?;
        self.space();
        if self.eat(close).is_some() {
            return Some(());
        }
        loop {
            each(self)?;
            self.space();
            if self.eat(close).is_some() {
                return Some(());
            }
            self.eat(",")?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.eat("\"")?;
        // As UTF-16, in which escapes are written; a lone half of a pair is no text.
        let mut units = Vec::new();
        loop {
            match self.next()? {
                '"' => return String::from_utf16(&units).ok(),
                '\\' => units.push(match self.next()? {
                    'u' => {
                        let digits = self.rest.get(..4)?;
                        self.rest = &self.rest[4..];
                        digits
                            .bytes()
                            .all(|b| b.is_ascii_hexdigit())
                            .then_some(())?;
                        u16::from_str_radix(digits, 16).ok()?
                    }
                    'b' => 8,
                    'f' => 12,
                    'n' => 10,
                    'r' => 13,
                    't' => 9,
                    c @ ('"' | '\\' | '/') => c as u16,
                    _ => return None,
                }),
                c if c < ' ' => return None,
                c => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn number(&mut self) -> Option<Json> {
        let before = self.rest;
        let _ = self.eat("-");
        if self.eat("0").is_none() {
            self.digits()?;
        }
        if self.eat(".").is_some() {
            self.digits()?;
        }
        if self.eat("e").or_else(|| self.eat("E")).is_some() {
            let _ = self.eat("+").or_else(|| self.eat("-"));
            self.digits()?;
        }
        Some(Json::Number(
            before[..before.len() - self.rest.len()].to_owned(),
        ))
    }

    fn digits(&mut self) -> Option<()> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let some = rest.len() < self.rest.len();
        self.rest = rest;
        some.then_some(())
    }
}
