//! Bodies of OAuth endpoints: HTML forms (RFC 6749, appendix B).

use super::{
    body::bytes_of,
    error::{ApiError, Code},
};
use secrecy::SecretString;
use std::collections::HashMap;
use warp::{Filter, Rejection};

/// The parameters of a form. Values are wiped when dropped: there are tokens among them.
pub struct Form(HashMap<String, SecretString>);

impl Form {
    /// A parameter that must be there.
    ///
    /// # Errors
    /// 400.
    pub fn required(&self, name: &'static str) -> Result<&SecretString, ApiError> {
        self.0.get(name).ok_or_else(|| ApiError::from(Code::InvalidRequest).message(format!("The parameter {name} is missing")))
    }

    /// Parses a body. A parameter that is there twice is an error, an empty one counts as none, and those that nobody asks for
    /// are ignored (RFC 6749 §3.2).
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut parameters = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes).filter(|(_, value)| !value.is_empty()) {
            if parameters.insert(name.into_owned(), SecretString::from(value.into_owned())).is_some() {
                return Err(ApiError::from(Code::InvalidRequest).message("A parameter is there twice"));
            }
        }
        Ok(Self(parameters))
    }
}

/// Requires a form. Without a body it has no parameters.
pub fn form() -> impl Filter<Extract = (Form,), Error = Rejection> + Clone + use<> {
    bytes_of("application/x-www-form-urlencoded").and_then(async |body: super::body::BodyBytes| match body? {
        Some(bytes) => Ok::<_, Rejection>(Form::parse(&bytes)?),
        None => Ok(Form::parse(&[])?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_parameter_is_there_once_or_not_at_all() {
        let form = Form::parse(b"token=a%2Bb+c&empty=&other=1").map_err(|error| error.code).expect("a form");
        assert_eq!(form.required("token").map_err(|error| error.code).expect("there").expose_secret(), "a+b c");
        for body in ["", "token=", "Token=a", "?token=a"] {
            let form = Form::parse(body.as_bytes()).map_err(|error| error.code).expect("a form");
            assert_eq!(form.required("token").map_err(|error| error.code).err(), Some(Code::InvalidRequest), "{body}");
        }
        assert_eq!(Form::parse(b"token=a&token=b").map(|_| ()).map_err(|error| error.code), Err(Code::InvalidRequest));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes: Vec<u8>) {
            let _ = Form::parse(&bytes);
        }
    }
}
