//! The client against a broker in this process that fails in every way that a test asks for.

mod answers;
mod broker;
mod log;

mod connections;
mod consuming;
mod producing;
