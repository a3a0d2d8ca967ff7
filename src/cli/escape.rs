//! Backslashes in options: `\t`, `\n`, `\r`, `\0`, `\\`, `\x2c`.

/// The bytes that `text` means.
///
/// # Errors
/// A sentence about an escape that is none.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            bytes.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('r') => b'\r',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let hex: String = rest.by_ref().take(2).collect();
                let byte = (hex.len() == 2).then(|| u8::from_str_radix(&hex, 16).ok()).flatten();
                byte.ok_or_else(|| format!("\\x{hex} in {text:?}: it must be \\x and two hex digits"))?
            }
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("\\{other} in {text:?}: known are \\n \\t \\r \\0 \\\\ and \\xHH"));
            }
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_their_bytes() {
        assert_eq!(unescape(r"a\tb\n\x2c\0\\é").unwrap(), "a\tb\n,\0\\é".as_bytes());
        assert!(unescape(r"\q").unwrap_err().contains(r"\q"));
        assert!(unescape(r"\x4").is_err() && unescape("\\").is_err());
    }
}
