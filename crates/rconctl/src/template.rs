//! `--format`: the part of Go's template language that people use with Docker: `{{.Field.Sub}}`, `{{json .}}`, `{{json .Field}}`, `\t`, `\n`.

use serde_json::Value;

use crate::report::{Report, invalid};

/// Renders one value through a template.
///
/// # Errors
/// A template with an unclosed action, one this subset has not, or a field the value has not.
pub fn render(template: &str, value: &Value) -> Result<String, Report> {
    let template = template.replace("\\t", "\t").replace("\\n", "\n");
    let mut rest = template.as_str();
    let mut out = String::new();
    while let Some(start) = rest.find("{{") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find("}}").ok_or_else(|| invalid(format!("template `{template}` has an unclosed `{{{{`")))?;
        out.push_str(&action(after[..end].trim(), value)?);
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

fn action(action: &str, value: &Value) -> Result<String, Report> {
    if let Some(path) = action.strip_prefix("json ") {
        return Ok(lookup(path.trim(), value)?.to_string());
    }
    Ok(match lookup(action, value)? {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

fn lookup<'v>(path: &str, value: &'v Value) -> Result<&'v Value, Report> {
    let path = path
        .strip_prefix('.')
        .ok_or_else(|| invalid(format!("`{{{{{path}}}}}` is not understood: use {{{{.Field}}}}, {{{{.Field.Sub}}}} or {{{{json .}}}}")))?;
    let mut here = value;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        here = match here {
            Value::Object(map) => map.get(part),
            Value::Array(list) => part.parse::<usize>().ok().and_then(|index| list.get(index)),
            _ => None,
        }
        .ok_or_else(|| {
            let known = match here {
                Value::Object(map) => map.keys().cloned().collect::<Vec<_>>().join(", "),
                _ => "none".to_owned(),
            };
            invalid(format!("there is no field `{part}`; there are: {known}"))
        })?;
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_of_docker_work() {
        let value = json!({"Name": "web", "State": {"Pid": 7}, "Names": ["a", "b"]});
        for (template, expected) in [
            ("{{.Name}}", "web"),
            ("{{ .State.Pid }}\\t{{.Name}}", "7\tweb"),
            ("{{json .State}}", "{\"Pid\":7}"),
            ("x{{.Names.1}}y", "xby"),
            ("plain", "plain"),
        ] {
            assert_eq!(render(template, &value).unwrap(), expected);
        }
    }

    #[test]
    fn a_bad_template_says_what_there_is() {
        let value = json!({"Name": "web"});
        assert!(render("{{.Nmae}}", &value).unwrap_err().to_string().contains("Name"));
        assert!(render("{{.Name", &value).is_err());
        assert!(render("{{range .}}", &value).is_err());
    }
}
