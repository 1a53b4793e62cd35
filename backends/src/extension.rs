//! extension: the user's own commands make the ways to peers; here is what they are. Running them is the daemon's.
//!
//! No shell reads them, as in flannel since 0.28.2: a command is words, with `$NAME` and `${NAME}` replaced from its environment.
//! Quotes and backslashes are understood as a shell's are (POSIX.1-2017, 2.2), so that a word may have blanks. What only a shell could
//! do is refused when it is read, for it would be passed on as an argument; who wants it writes `sh -c '…'`.

use ipam::{BackendData, Endpoint};

use crate::cluster::{Way, other_backend};

/// The name in net-conf.json and in leases.
pub const NAME: &str = "extension";

/// The backend's options of net-conf.json, as used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionSettings {
    /// Before the lease is published; what it prints is published with it.
    pub pre_startup: Option<CommandLine>,
    /// Once this node has its lease.
    pub post_startup: Option<CommandLine>,
    /// For each peer that comes or changes; what it published is on standard input.
    pub subnet_add: Option<CommandLine>,
    /// For each peer that goes.
    pub subnet_remove: Option<CommandLine>,
}

/// The way to one family of a peer.
pub(crate) fn way(peer: &Endpoint) -> Result<Way, String> {
    match &peer.data {
        BackendData::Extension { .. } => Ok(Way::Foreign),
        other => Err(other_backend(other.backend_type(), NAME)),
    }
}

/// A command: a program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    text: String,
    words: Vec<Word>,
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// Nothing in it.
    #[error("there is no command in it")]
    Empty,
    /// A quote without its end, or a backslash before nothing.
    #[error("{0} is not closed")]
    Unclosed(&'static str),
    /// Something that a shell would do.
    #[error("no shell reads it, and `{0}` is for one")]
    ForAShell(String),
}

/// A word: texts and variables, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Word {
    parts: Vec<Part>,
    /// Whether it stays when nothing is in it.
    quoted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl CommandLine {
    /// Reads a command.
    ///
    /// # Errors
    /// [`CommandLineError`].
    pub fn parse(text: &str) -> Result<CommandLine, CommandLineError> {
        let mut reader = Reader { rest: text.chars().peekable(), words: Vec::new(), word: None };
        reader.read()?;
        if reader.words.is_empty() {
            return Err(CommandLineError::Empty);
        }
        Ok(CommandLine { text: text.trim().to_owned(), words: reader.words })
    }

    /// Program and arguments, with variables replaced; one that there is not is empty. A word of which nothing is left is left
    /// out, unless quotes hold its place.
    pub fn arguments<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
        let expand = |word: &Word| {
            let parts = word.parts.iter().map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Variable(name) => value(name).unwrap_or_default(),
            });
            let whole: String = parts.collect();
            (word.quoted || !whole.is_empty()).then_some(whole)
        };
        self.words.iter().filter_map(expand).collect()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    words: Vec<Word>,
    word: Option<Word>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), CommandLineError> {
        while let Some(letter) = self.rest.next() {
            match letter {
                ' ' | '\t' | '\n' | '\r' => self.words.extend(self.word.take()),
                '\'' => self.single()?,
                '"' => self.double()?,
                '\\' => {
                    let next = self.rest.next().ok_or(CommandLineError::Unclosed("the backslash at its end"))?;
                    self.text(next);
                }
                '$' => self.variable()?,
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => {
                    return Err(CommandLineError::ForAShell(letter.to_string()));
                }
                other => self.text(other),
            }
        }
        self.words.extend(self.word.take());
        Ok(())
    }

    fn single(&mut self) -> Result<(), CommandLineError> {
        self.word().quoted = true;
        loop {
            match self.rest.next().ok_or(CommandLineError::Unclosed("a single quote"))? {
                '\'' => return Ok(()),
                other => self.text(other),
            }
        }
    }

    fn double(&mut self) -> Result<(), CommandLineError> {
        self.word().quoted = true;
        loop {
            let unclosed = CommandLineError::Unclosed("a double quote");
            match self.rest.next().ok_or(unclosed.clone())? {
                '"' => return Ok(()),
                '$' => self.variable()?,
                '`' => return Err(CommandLineError::ForAShell("`".to_owned())),
                '\\' => match self.rest.next().ok_or(unclosed)? {
                    escaped @ ('"' | '\\' | '$' | '`') => self.text(escaped),
                    other => {
                        self.text('\\');
                        self.text(other);
                    }
                },
                other => self.text(other),
            }
        }
    }

    /// What follows a `$`.
    fn variable(&mut self) -> Result<(), CommandLineError> {
        let named = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
        match self.rest.peek() {
            Some('(') => Err(CommandLineError::ForAShell("$(".to_owned())),
            Some('{') => {
                self.rest.next();
                let mut name = String::new();
                loop {
                    match self.rest.next().ok_or(CommandLineError::Unclosed("a ${"))? {
                        '}' if !name.is_empty() => break,
                        letter if named(&letter) => name.push(letter),
                        other => return Err(CommandLineError::ForAShell(format!("${{{name}{other}"))),
                    }
                }
                self.word().parts.push(Part::Variable(name));
                Ok(())
            }
            Some(letter) if named(letter) && !letter.is_ascii_digit() => {
                let mut name = String::new();
                while let Some(letter) = self.rest.next_if(named) {
                    name.push(letter);
                }
                self.word().parts.push(Part::Variable(name));
                Ok(())
            }
            _ => {
                self.text('$');
                Ok(())
            }
        }
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn text(&mut self, letter: char) {
        let parts = &mut self.word().parts;
        match parts.last_mut() {
            Some(Part::Text(text)) => text.push(letter),
            _ => parts.push(Part::Text(letter.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        let value = |name: &str| match name {
            "SUBNET" => Some("10.1.2.0/24"),
            "TWO" => Some("a b"),
            _ => None,
        };
        CommandLine::parse(text).unwrap().arguments(value)
    }

    #[test]
    fn words_are_split_and_variables_replaced_as_flannel_says() {
        let recipe = "tailscale set --accept-routes --advertise-routes=$SUBNET";
        assert_eq!(words(recipe), ["tailscale", "set", "--accept-routes", "--advertise-routes=10.1.2.0/24"]);
        assert_eq!(
            words("ip  route\tadd ${SUBNET} via $NOBODY dev"),
            ["ip", "route", "add", "10.1.2.0/24", "via", "dev"]
        );
        // What is in a variable is one word, whatever is in it.
        assert_eq!(words("x $TWO"), ["x", "a b"]);
        assert_eq!(words("x a$TWO$SUBNET-$ $5"), ["x", "aa b10.1.2.0/24-$", "$5"]);
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words(r#"sh -c 'echo "$SUBNET" | cat' "" '' "$NOBODY""#),
            ["sh", "-c", "echo \"$SUBNET\" | cat", "", "", ""]
        );
        assert_eq!(words(r#"x "a  $SUBNET\"\\\$\n" b\ c d"e"'f'"#), ["x", "a  10.1.2.0/24\"\\$\\n", "b c", "def"]);
    }

    #[test]
    fn what_only_a_shell_could_do_is_refused() {
        for text in
            ["a | b", "a && b", "a; b", "a > /b", "x $(hostname)", "x `hostname`", "x \"`hostname`\"", "${A:-b}"]
        {
            assert!(matches!(CommandLine::parse(text), Err(CommandLineError::ForAShell(_))), "{text}");
        }
        for text in ["x 'a", "x \"a", "x ${A", "x \\"] {
            assert!(matches!(CommandLine::parse(text), Err(CommandLineError::Unclosed(_))), "{text}");
        }
        assert_eq!(CommandLine::parse(" \n"), Err(CommandLineError::Empty));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "[ -~\\n]{0,60}") {
            if let Ok(line) = CommandLine::parse(&text) {
                line.arguments(|_| Some("x"));
            }
        }
    }
}
