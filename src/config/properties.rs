//! Java's `.properties` format, as server.properties has it.
//!
//! A line is `key=value`, `key: value` or `key value`; `#` and `!` begin comments; a backslash at the end of a line joins
//! it to the next, whose leading blanks are dropped; `\t \n \r \f`, `\uXXXX` and a backslash before any other character
//! are escapes. A key that comes twice has its last value, as in Java.

use super::error::ConfigError;

/// The keys and values of a file, in their order; of a key that comes twice, the last.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (line, logical) in logical_lines(text) {
        let chars: Vec<char> = logical.chars().collect();
        let (end, start) = split_at_separator(&chars);
        let key = unescape(&chars[..end], line)?;
        let value = unescape(&chars[start..], line)?;
        if key.is_empty() {
            return Err(ConfigError::Syntax { line, sentence: format!("no key before {logical:?}") });
        }
        pairs.retain(|(known, _)| *known != key);
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// The lines that count, with continuations joined, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let (number, mut logical) = open.take().unwrap_or((index + 1, String::new()));
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            logical.push_str(&line[..line.len() - 1]);
            open = Some((number, logical));
        } else {
            logical.push_str(line);
            lines.push((number, logical));
        }
    }
    // The file ended after a backslash: what came before it counts.
    lines.extend(open.filter(|(_, logical)| !logical.is_empty()));
    lines
}

/// Where the key ends and where the value begins.
fn split_at_separator(chars: &[char]) -> (usize, usize) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut end = 0;
    while end < chars.len() && !blank(chars[end]) && !matches!(chars[end], '=' | ':') {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    let end = end.min(chars.len());
    let mut start = end;
    let mut separated = false;
    while start < chars.len() && (blank(chars[start]) || (!separated && matches!(chars[start], '=' | ':'))) {
        separated |= !blank(chars[start]);
        start += 1;
    }
    (end, start)
}

fn unescape(chars: &[char], line: usize) -> Result<String, ConfigError> {
    // Java's text is UTF-16: a pair of \u escapes may make one character.
    let mut units: Vec<u16> = Vec::with_capacity(chars.len());
    let push = |units: &mut Vec<u16>, c: char| units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    let mut rest = chars.iter().copied();
    while let Some(c) = rest.next() {
        if c != '\\' {
            push(&mut units, c);
            continue;
        }
        match rest.next() {
            Some('t') => push(&mut units, '\t'),
            Some('n') => push(&mut units, '\n'),
            Some('r') => push(&mut units, '\r'),
            Some('f') => push(&mut units, '\u{c}'),
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                match u16::from_str_radix(&digits, 16) {
                    Ok(unit) if digits.len() == 4 && !digits.starts_with('+') => units.push(unit),
                    _ => {
                        let sentence = format!("\\u{digits} is not a character: \\u takes four hexadecimal digits");
                        return Err(ConfigError::Syntax { line, sentence });
                    }
                }
            }
            Some(other) => push(&mut units, other),
            None => {}
        }
    }
    String::from_utf16(&units).map_err(|_| ConfigError::Syntax {
        line,
        sentence: "half of a surrogate pair: a character past \\uFFFF takes two \\u escapes".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn equals_colon_and_blanks_separate() {
        let text = "a=1\nb: 2\nc 3\nd = = 4\n e\t5 \n#no\n!no\n\nf\ng=\n";
        let expected = [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("d", "= 4"),
            pair("e", "5 "),
            pair("f", ""),
            pair("g", ""),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_backslash_at_the_end_of_a_line_joins_it_to_the_next() {
        assert_eq!(pairs("a=1,\\\n   2\r\nb=x\\\\\nc=y\\"), [pair("a", "1,2"), pair("b", "x\\"), pair("c", "y")]);
        assert_eq!(pairs("a=1\\\n#2"), [pair("a", "1#2")]);
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        assert_eq!(pairs("a\\ b\\=\\:=\\t\\u0041\\uD83D\\uDE00\\z"), [pair("a b=:", "\tA😀z")]);
    }

    #[test]
    fn the_last_of_two_values_counts() {
        assert_eq!(pairs("a=1\nb=2\na=3"), [pair("b", "2"), pair("a", "3")]);
    }

    #[test]
    fn an_error_names_its_line() {
        let sentence = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(sentence("a=1\n\nb=\\u00"), "line 3: \\u00 is not a character: \\u takes four hexadecimal digits");
        assert_eq!(sentence("\n = x"), "line 2: no key before \"= x\"");
        assert!(sentence("a=\\uD83D").starts_with("line 1: half of a surrogate pair"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }
}
