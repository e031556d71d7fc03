//! Fills in a template. `@name@` stands for a value, and lines after `@when word …` are printed if all these words hold,
//! up to the next `@when` or to `@end`.

/// Fills in a template.
///
/// # Errors
/// A value has characters that mean something in one of the languages these files are in, or there is none.
pub fn fill(template: &str, values: &[(&str, String)], holds: &[&str]) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut printed = true;
    for line in template.lines() {
        if let Some(words) = line.strip_prefix("@when ") {
            printed = words.split(' ').all(|word| holds.contains(&word));
        } else if line == "@end" {
            printed = true;
        } else if printed {
            fill_line(line, values, &mut filled)?;
        }
    }
    Ok(filled)
}

fn fill_line(mut line: &str, values: &[(&str, String)], filled: &mut String) -> Result<(), String> {
    while let Some((before, rest)) = line.split_once('@') {
        filled.push_str(before);
        line = match rest.split_once('@') {
            Some((name, rest)) if is_name(name) => {
                filled.push_str(value(name, values)?);
                rest
            }
            // An `@` of the file's own.
            _ => {
                filled.push('@');
                rest
            }
        };
    }
    filled.push_str(line);
    filled.push('\n');
    Ok(())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn value<'a>(name: &str, values: &'a [(&str, String)]) -> Result<&'a str, String> {
    let (_, value) = values.iter().find(|(known, _)| *known == name).ok_or_else(|| format!("nothing to write for {name}"))?;
    if is_plain(value) { Ok(value) } else { Err(format!("{value:?} cannot be written into the configuration of a proxy")) }
}

/// Whether a value means only itself in all of these languages, quoted or not.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/[]-".contains(&byte);
    !value.is_empty() && value.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, value: &str, holds: &[&str]) -> Result<String, String> {
        fill(template, &[("host", value.to_owned())], holds)
    }

    #[test]
    fn values_stand_where_their_names_stood() {
        assert_eq!(filled("a @host@, @host@:1", "x", &[]).as_deref(), Ok("a x, x:1\n"));
        assert_eq!(filled("location @named {\nuser@example\n@", "x", &[]).as_deref(), Ok("location @named {\nuser@example\n@\n"));
    }

    #[test]
    fn lines_under_a_condition_are_printed_if_all_of_it_holds() {
        let template = "a\n@when tls listen\nb\n@when plain\nc\n@end\nd";
        assert_eq!(filled(template, "x", &["tls", "listen"]).as_deref(), Ok("a\nb\nd\n"));
        assert_eq!(filled(template, "x", &["tls"]).as_deref(), Ok("a\nd\n"));
        assert_eq!(filled(template, "x", &["plain"]).as_deref(), Ok("a\nc\nd\n"));
    }

    #[test]
    fn what_could_mean_more_than_itself_is_refused() {
        for value in ["", "a b", "a;b", "a\nb", "a\"b", "a'b", "a`b", "a{b", "a}b", "a$b", "a%b", "a#b", "a\\b", "a*b", "a@b", "a,b", "ä"]
        {
            assert!(filled("@host@", value, &[]).is_err(), "{value:?}");
        }
        assert!(filled("@port@", "x", &[]).is_err(), "no value");
        assert!(filled("@host@", "[::1]:3000", &[]).is_ok());
    }
}
