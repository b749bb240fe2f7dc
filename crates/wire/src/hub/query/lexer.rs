//! A query's text, cut into tokens.

use std::{iter::Peekable, str::Chars};

use model::query::Comparison;

use super::BadQuery;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword or a name.
    Word(String),
    /// A string literal, unescaped.
    String(String),
    /// A number, as its token.
    Number(String),
    Comparison(Comparison),
    Star,
    Dot,
    Comma,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    End,
}

pub(super) struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    /// Of the next character, from 1.
    column: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.chars().peekable(), column: 1 }
    }

    /// All tokens with their columns; the last is [`Token::End`].
    pub(super) fn tokens(mut self) -> Result<Vec<(usize, Token)>, BadQuery> {
        let mut tokens = Vec::new();
        loop {
            while self.next_if(char::is_whitespace).is_some() {}
            let column = self.column;
            let token = self.token()?;
            let is_end = token == Token::End;
            tokens.push((column, token));
            if is_end {
                return Ok(tokens);
            }
        }
    }

    fn token(&mut self) -> Result<Token, BadQuery> {
        let column = self.column;
        let Some(c) = self.next() else { return Ok(Token::End) };
        let comparison = |comparison| Ok(Token::Comparison(comparison));
        match c {
            '*' => Ok(Token::Star),
            '.' => Ok(Token::Dot),
            ',' => Ok(Token::Comma),
            '(' => Ok(Token::Open),
            ')' => Ok(Token::Close),
            '[' => Ok(Token::OpenBracket),
            ']' => Ok(Token::CloseBracket),
            '=' => comparison(Comparison::Equal),
            '!' if self.next_is('=') => comparison(Comparison::NotEqual),
            '<' if self.next_is('>') => comparison(Comparison::NotEqual),
            '<' if self.next_is('=') => comparison(Comparison::LessOrEqual),
            '<' => comparison(Comparison::Less),
            '>' if self.next_is('=') => comparison(Comparison::GreaterOrEqual),
            '>' => comparison(Comparison::Greater),
            '\'' | '"' => self.string(c, column),
            '-' | '0'..='9' => self.number(c, column),
            c if is_word_start(c) => Ok(Token::Word(self.word(c))),
            c => Err(wrong(column, format!("{c:?} means nothing here"))),
        }
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(c) = self.next_if(|c| is_word_start(c) || c.is_numeric()) {
            word.push(c);
        }
        word
    }

    /// A string after its opening quote. A quote is written twice or after a backslash.
    fn string(&mut self, quote: char, start: usize) -> Result<Token, BadQuery> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(wrong(start, "the string has no end")),
                Some('\\') => match self.next_if(|c| c == '\\' || c == '\'' || c == '"') {
                    Some(escaped) => text.push(escaped),
                    None => text.push('\\'),
                },
                Some(c) if c == quote => {
                    if !self.next_is(quote) {
                        return Ok(Token::String(text));
                    }
                    text.push(quote);
                }
                Some(c) => text.push(c),
            }
        }
    }

    /// A number in the form of JSON, after its first character.
    fn number(&mut self, first: char, start: usize) -> Result<Token, BadQuery> {
        let mut token = String::from(first);
        let digits = |lexer: &mut Self, token: &mut String| {
            let before = token.len();
            while let Some(c) = lexer.next_if(|c| c.is_ascii_digit()) {
                token.push(c);
            }
            token.len() > before
        };
        let mut whole = digits(self, &mut token) || first != '-';
        if self.next_is('.') {
            token.push('.');
            whole &= digits(self, &mut token);
        }
        if let Some(e) = self.next_if(|c| c == 'e' || c == 'E') {
            token.push(e);
            if let Some(sign) = self.next_if(|c| c == '+' || c == '-') {
                token.push(sign);
            }
            whole &= digits(self, &mut token);
        }
        if !whole || self.rest.peek().is_some_and(|c| is_word_start(*c)) {
            return Err(wrong(start, "expected a number"));
        }
        Ok(Token::Number(token))
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.column += 1;
        Some(c)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let c = self.rest.next_if(|c| wanted(*c))?;
        self.column += 1;
        Some(c)
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.next_if(|c| c == wanted).is_some()
    }
}

/// Twin members may have names in any script, and `$version` begins with a dollar.
fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

fn wrong(column: usize, what: impl Into<String>) -> BadQuery {
    BadQuery::Syntax { column, what: what.into() }
}
