//! The words of a provider's message that may go into records and logs.
//!
//! Providers write their sentences about requests, schemas and limits with these words. A word that
//! is neither here nor in the agent's own tools and schemas is left out. So if a provider quotes a
//! prompt, its own words are left out.

const WORDS: &str = "
a about above access account active additional again additionalproperties adjust allof allowed already also an and any anyof api are
argument arguments array arrays as at available
be because been before between body boolean both but by
call calls can cannot characters check choice closed combination completion configured const contain contains content contents context
could count current currently custom
day days decrease default defined definition definitions defs depth description deprecated different disabled do does
doesn don draft duplicate each
effort either empty enabled enum error exactly exceed exceeded exceeds exclusivemaximum exclusiveminimum exist existing exists
expected extra extra_body failed false field fields find following for format found from function functiondeclaration
function_declarations functions
generation generation_config given got greater has have higher however
id if in include including incompatible inclusive index input input_schema input_tokens inputs instead instructions int integer invalid is isn it item items its
json json_schema
key keys keyword keywords known
least length less level levels limit limited limits list loaded long longer lower
make many match matching max max_completion_tokens max_new_tokens max_output_tokens max_tokens maximum maxitems maxlength
maxproperties may meet message messages method min minimum minitems minlength minproperties minute minutes missing mode model
models more most multiple multipleof must
name named names need needed nested new no non none not null nullable number numbers
object objects of on one oneof only or organization other out output output_config output_format over
parallel_tool_calls parameter parameters parse part pass pattern patternproperties payload per permitted please plus prefixitems
prompt properties property propertynames provide provided
range rate reached read reasoning reasoning_effort received reduce ref reference remove repeating request requested requests require
required requires response response_format retry root rpd rpm
s same sampling schema schemas second seconds see send service set should shorter size small smaller some specified spend start still
stop store stream stream_options strict string strings structured subschema such supplied support supported supports system system_instruction
t temperature text than that the their then there these thinking this tier time to token tokens too tool tool_choice tools top top_p
total tpd tpm true try two type types
unable unevaluateditems unevaluatedproperties unexpected union unique uniqueitems unknown unrecognized unresolvable unsupported
until up usage use used uses using
valid validate validation value values version
wait was were when where which while will with within without would
you your
";

/// Whether a word may go into records and logs.
pub(super) fn has(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    WORDS.split_ascii_whitespace().any(|known| known == word)
}
