//! The Chat Completions API, which OpenAI made and many servers have: vLLM, Ollama, gateways such
//! as `LiteLLM` and `OpenRouter`.
//!
//! What is sent is what all of them know. What they answer is read leniently, because each has its
//! own way with what OpenAI left open. OpenAI's own models are called by its [Responses
//! API](super::openai), which alone has all of their abilities.

mod answer;
mod calls;
mod failure;
mod reasoning;
mod request_body;
#[cfg(test)]
mod tests;

use self::answer::Stream;
use self::request_body::RequestBody;
use super::dialect::Dialect;
use super::http::Client;
use crate::domain::ModelRequest;

/// Calls the models of any server with the API.
pub(super) type ChatClient = Client<Chat>;

/// The API.
pub(super) struct Chat;

impl Dialect for Chat {
    const PATH: &'static str = "/v1/chat/completions";
    const REQUEST_ID: &'static str = "x-request-id";

    type RequestBody<'a> = RequestBody<'a>;
    type ResponseParser = Stream;

    fn body(request: &ModelRequest) -> Self::RequestBody<'_> {
        request.into()
    }

    fn headers(_request: &ModelRequest) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}
