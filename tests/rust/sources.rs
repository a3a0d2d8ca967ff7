//! A small reader of Rust sources for the house rules: which paths a file uses, and on which line.
//!
//! It knows comments, strings, characters, `use` trees and inline modules, and nothing of types: a path is taken as it
//! is written.

/// A path as it is written in a file, `use` trees unfolded.
pub(crate) struct UsedPath {
    pub(crate) parts: Vec<String>,
    pub(crate) line: usize,
    /// The inline modules it stands in, outermost first.
    pub(crate) inside: Vec<String>,
    pub(crate) in_tests: bool,
    /// Whether it calls a macro.
    pub(crate) is_macro: bool,
}

/// What the rules want to know of a file.
pub(crate) struct Source {
    pub(crate) file: String,
    /// The path of its module: empty for the root.
    pub(crate) module: Vec<String>,
    pub(crate) text: String,
    pub(crate) lines: usize,
    pub(crate) paths: Vec<UsedPath>,
    /// The lines on which `unsafe` stands.
    pub(crate) unsafes: Vec<usize>,
}

struct Token {
    text: String,
    line: usize,
}

impl Source {
    /// Reads `text`, the contents of `file` (its path from the root of the repository).
    pub(crate) fn read(file: &str, text: &str) -> Source {
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').skip(1).map(str::to_owned).collect();
        module.pop_if(|last| last == "mod" || last == "lib" || last == "main");
        let tokens = tokens(text);
        let in_tests = module.iter().any(|part| is_test_module(part));
        let unsafes = tokens.iter().filter(|token| token.text == "unsafe").map(|token| token.line).collect();
        let paths = paths(&tokens, in_tests);
        Source { file: file.to_owned(), module, text: text.to_owned(), lines: text.lines().count(), paths, unsafes }
    }
}

fn is_test_module(name: &str) -> bool {
    name == "tests" || name == "testing" || name.ends_with("_tests")
}

fn paths(tokens: &[Token], in_tests: bool) -> Vec<UsedPath> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    let mut modules: Vec<(String, usize)> = Vec::new();
    let (mut depth, mut at) = (0, 0);
    while at < tokens.len() {
        match text(at) {
            "mod" if text(at + 2) == "{" => {
                depth += 1;
                modules.push((text(at + 1).to_owned(), depth));
                at += 3;
            }
            "{" => {
                depth += 1;
                at += 1;
            }
            "}" => {
                modules.pop_if(|(_, opened)| *opened == depth);
                depth = depth.saturating_sub(1);
                at += 1;
            }
            word if is_word(word) => {
                let inside: Vec<String> = modules.iter().map(|(name, _)| name.clone()).collect();
                let in_tests = in_tests || inside.iter().any(|name| is_test_module(name));
                let mut trees = Vec::new();
                at = unfold(tokens, at, &[], &mut trees);
                let is_macro = text(at) == "!";
                for (parts, line) in trees {
                    found.push(UsedPath { parts, line, inside: inside.clone(), in_tests, is_macro });
                }
            }
            _ => at += 1,
        }
    }
    found
}

/// Unfolds the path or `use` tree that starts at `at` into `found`, and returns where it ends.
fn unfold(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut parts = before.to_vec();
    let line = tokens[at].line;
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while at < tokens.len() && text(at) != "}" {
                    at = if is_word(text(at)) || text(at) == "*" { unfold(tokens, at, &parts, found) } else { at + 1 };
                }
                return at + 1;
            }
            word => parts.push(word.to_owned()),
        }
        at += 1;
        let goes_on = text(at) == "::" && (is_word(text(at + 1)) || text(at + 1) == "*" || text(at + 1) == "{");
        if !goes_on {
            found.push((parts, line));
            return at;
        }
        at += 1;
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The words and signs of `text` without comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at_is = |at: usize, what: char| chars.get(at) == Some(&what);
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        match chars[at] {
            '/' if at_is(at + 1, '/') => at += chars[at..].iter().take_while(|c| **c != '\n').count(),
            '/' if at_is(at + 1, '*') => at = end_of_comment(&chars, at),
            '"' => at = end_of_string(&chars, at),
            'r' | 'b' | 'c' if raw_string(&chars, at).is_some() => at = raw_string(&chars, at).unwrap(),
            'b' | 'c' if at_is(at + 1, '"') => at = end_of_string(&chars, at + 1),
            '\'' => at = end_of_character(&chars, at),
            c if c.is_alphanumeric() || c == '_' => {
                at += chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
                found.push(Token { text: chars[start..at].iter().collect(), line });
            }
            ':' if at_is(at + 1, ':') => {
                at += 2;
                found.push(Token { text: "::".to_owned(), line });
            }
            c => {
                at += 1;
                if !c.is_whitespace() {
                    found.push(Token { text: c.to_string(), line });
                }
            }
        }
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while at < chars.len() && depth > 0 {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Where the raw string (`r"..."`, `br#"..."#`) that starts at `start` ends, or `None` where there is none.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let r = if chars[start] == 'r' { start } else { start + 1 };
    if chars.get(r) != Some(&'r') {
        return None;
    }
    let hashes = chars[r + 1..].iter().take_while(|c| **c == '#').count();
    let mut at = r + 1 + hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(at)
}

/// Where the character that starts at `start` ends; a lifetime is only its quote.
fn end_of_character(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            let mut at = start + 3;
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            (at + 1).min(chars.len())
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}
