//! What S3 says when it does not serve, told again without anything secret.

use std::error::Error as StdError;
use std::fmt;

use object_store::client::{HttpError, HttpErrorKind};

/// Why a request to S3 failed.
///
/// A store's own words may hold the request that it refused, session token and all (the body of
/// `SignatureDoesNotMatch` does). So what it says is read here, once, and only its code and its
/// message are kept: no error that leaves [`S3`](super::s3::S3) carries anything else of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Failure {
    trouble: Trouble,
    said: String,
}

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No credentials were found, or they are not known or no longer valid.
    Credentials,
    /// The credentials are good, and not for this.
    Forbidden,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region.
    Region,
    /// Settings of the endpoint that cannot be used.
    Endpoint,
    /// Nothing answers at the endpoint.
    Unreachable,
    /// The store overwrites where it must refuse.
    NoConditionalPut,
    /// The store failed on its side; it may be well the next time.
    Failing,
    /// The connection broke or stayed silent: whether the request was served is not known.
    CutOff,
    /// Two puts of one object met, and the store asks for another try.
    Met,
    /// An object is not there, or there already: an answer rather than a failure.
    Answer,
    /// Anything else.
    Other,
}

impl S3Failure {
    /// A failure that is found without asking the store.
    pub(crate) fn new(trouble: Trouble, said: impl Into<String>) -> Self {
        let said = said.into();
        Self { trouble, said }
    }

    /// Reads an error of the client for the store at `endpoint`.
    pub(super) fn of(error: &object_store::Error, endpoint: &str) -> Self {
        if let Some(kind) = transport(error) {
            let cause = innermost(error);
            return match kind {
                HttpErrorKind::Connect => Self::new(
                    Trouble::Unreachable,
                    format!("nothing answers at {endpoint}: {cause}"),
                ),
                HttpErrorKind::Timeout => Self::new(
                    Trouble::CutOff,
                    format!("no answer in time from {endpoint}"),
                ),
                _ => Self::new(
                    Trouble::CutOff,
                    format!("the connection to {endpoint} broke: {cause}"),
                ),
            };
        }
        let text = error.to_string();
        let code = between(&text, "<Code>", "</Code>");
        if text.contains("redirect without LOCATION") {
            return Self::new(Trouble::Region, "S3 says that the bucket is elsewhere");
        }
        let status = between(&text, "status code: ", " ").and_then(|status| status.parse().ok());
        let Some(status) = status else {
            // Not an answer of the store: its words end where a document of its own would begin.
            let said = text.split('<').next().unwrap_or_default().trim();
            return Self::new(Trouble::Other, said);
        };
        let said = match (code, between(&text, "<Message>", "</Message>")) {
            (Some(code), Some(message)) => format!("S3 answers {status} {code}: {message}"),
            (Some(code), None) => format!("S3 answers {status} {code}"),
            (None, _) => format!("S3 answers {status}"),
        };
        Self::new(trouble(status, code.unwrap_or_default()), said)
    }

    /// What is to be done about it.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// Whether the same request may be served the next time.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self.trouble,
            Trouble::Unreachable | Trouble::Failing | Trouble::CutOff | Trouble::Met
        )
    }

    /// Whether the user can repair it.
    #[must_use]
    pub fn is_user_fixable(&self) -> bool {
        self.hint().is_some()
    }

    /// What to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self.trouble {
            Trouble::Credentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if they are temporary; profiles are not read, `aws configure export-credentials --format env` prints one as variables"
            }
            Trouble::Forbidden => {
                "the credentials need s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on what is under the lake's prefix"
            }
            Trouble::NoBucket => {
                "make the bucket, or check its name, AWS_ENDPOINT_URL and AWS_REGION; almanac makes lakes, not buckets"
            }
            Trouble::Region => "set AWS_REGION to the region of the bucket",
            Trouble::Endpoint => {
                "AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3) is an https:// URL without a bucket; http:// needs AWS_ALLOW_HTTP=true unless it stays on this machine"
            }
            Trouble::Unreachable => {
                "check AWS_ENDPOINT_URL, AWS_REGION and the network; nothing that is committed is lost"
            }
            Trouble::NoConditionalPut => {
                "a lake needs a store that honours `If-None-Match: *` when an object is put, as Amazon S3, MinIO, Ceph and R2 do in their present versions"
            }
            Trouble::Failing | Trouble::CutOff | Trouble::Met => {
                "run the same command again when the store is well: what is committed stays, the rest is made then"
            }
            Trouble::Answer | Trouble::Other => return None,
        };
        Some(hint.to_owned())
    }

    /// The failure in a chain of causes, if S3 is at its end.
    pub(crate) fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(failure) = error.downcast_ref() {
                return Some(failure);
            }
            cause = below(error);
        }
        None
    }
}

impl fmt::Display for S3Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl StdError for S3Failure {}

/// The cause of an error, also where a layer boxes it without naming it as one.
pub(crate) fn below<'a>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(parquet::errors::ParquetError::External(inner)) = error.downcast_ref() {
        return Some(inner.as_ref());
    }
    if let Some(inner) = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        return Some(inner);
    }
    error.source()
}

fn trouble(status: u16, code: &str) -> Trouble {
    match (status, code) {
        (_, "NoSuchBucket") => Trouble::NoBucket,
        (
            _,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "InvalidClientTokenId",
        )
        | (401, _) => Trouble::Credentials,
        (
            _,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "IllegalLocationConstraintException",
        )
        | (300..=303 | 305..=399, _) => Trouble::Region,
        (403, _) => Trouble::Forbidden,
        (409, "ConditionalRequestConflict" | "OperationAborted") => Trouble::Met,
        (501, _) => Trouble::NoConditionalPut,
        (408 | 429 | 500.., _) => Trouble::Failing,
        (304 | 404 | 409 | 412 | 416, _) => Trouble::Answer,
        _ => Trouble::Other,
    }
}

/// How the connection failed, if it is that.
fn transport(error: &object_store::Error) -> Option<HttpErrorKind> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        cause = error.source();
    }
    None
}

/// The text of the last cause: `Connection refused`, and not the four layers around it.
fn innermost(error: &object_store::Error) -> String {
    let mut last: &(dyn StdError + 'static) = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    let end = rest.find(to).unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    #[test]
    fn of_a_refused_signature_only_code_and_message_are_kept() {
        let text = "Error performing PUT https://s3/b/k in 2ms - Server returned non-2xx status code: 403 Forbidden: \
                    <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match</Message>\
                    <AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId>\
                    <CanonicalRequest>PUT\n/b/k\nx-amz-security-token:SECRET</CanonicalRequest></Error>";
        let failure = S3Failure::of(&generic(text), "https://s3");
        assert_eq!(
            failure.to_string(),
            "S3 answers 403 SignatureDoesNotMatch: The signature does not match"
        );
        assert_eq!(failure.trouble(), Trouble::Credentials);
        for shown in [failure.to_string(), format!("{failure:?}")] {
            assert!(
                !shown.contains("SECRET") && !shown.contains("AKID"),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_is_to_be_done_follows_from_status_and_code() {
        for (status, code, wanted) in [
            (404, "NoSuchBucket", Trouble::NoBucket),
            (404, "NoSuchKey", Trouble::Answer),
            (403, "AccessDenied", Trouble::Forbidden),
            (400, "ExpiredToken", Trouble::Credentials),
            (301, "PermanentRedirect", Trouble::Region),
            (400, "AuthorizationHeaderMalformed", Trouble::Region),
            (412, "PreconditionFailed", Trouble::Answer),
            (409, "ConditionalRequestConflict", Trouble::Met),
            (501, "NotImplemented", Trouble::NoConditionalPut),
            (503, "SlowDown", Trouble::Failing),
            (400, "MalformedXML", Trouble::Other),
        ] {
            let text = format!(
                "Server returned non-2xx status code: {status} X: <Error><Code>{code}</Code></Error>"
            );
            let failure = S3Failure::of(&generic(&text), "https://s3");
            assert_eq!(failure.trouble(), wanted, "{failure}");
            assert_eq!(
                failure.is_user_fixable(),
                !matches!(wanted, Trouble::Answer | Trouble::Other)
            );
        }
    }

    #[test]
    fn a_document_of_unknown_form_is_not_repeated() {
        let failure = S3Failure::of(&generic("odd answer <html>SECRET</html>"), "https://s3");
        assert_eq!(failure.to_string(), "Generic S3 error: odd answer");
    }
}
