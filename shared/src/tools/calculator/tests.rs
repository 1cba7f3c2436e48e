//! What expressions mean, and which errors invalid expressions give.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[track_caller]
fn check(expression: &str, expected: &str) {
    assert_eq!(
        run(&json!({ "expression": expression })),
        ToolOutput::new(expected),
        "{expression}"
    );
}

#[test]
fn an_expression_means_what_it_means_on_paper() {
    check("1 + 2 * 3", "7");
    check("(1+2)*3", "9");
    check("2^3^2", "512");
    check("-2^2", "-4");
    check("2^-1", "0.5");
    check("--3 - -+2", "5");
    check("10 - 4 - 3", "3");
    check("100 / 5 / 2", "10");
    check("7 % 4 + -7 % 4", "0");
    check("1.5e3 + .5 + 2.", "1502.5");
    check("2E-2", "0.02");
    check("min(3, 1, 2) + max(4)", "5");
    check("sqrt(abs(-16))", "4");
    check("round(2.5) + floor(-1.5) + ceil(1.2)", "3");
    check("ln(e) + log10(1000) + exp(0)", "5");
    check("sin(0) + cos(2*pi) + tan(0)", "1");
    check("1/3", "0.3333333333333333");
    check("2^80", "1.2089258196146292e24");
    check("10^-9 * 3", "3.0000000000000004e-9");
    check("0 * -1", "0");
    check("123456789012", "123456789012");
}

#[test]
fn what_is_wrong_is_said_in_a_few_words() {
    let table = [
        ("", "the expression ends too early"),
        ("1 +", "the expression ends too early"),
        ("(1", "the expression ends too early, where ) is missing"),
        ("1 1", "the expression has an unexpected 1 at character 3"),
        ("ü", "the expression has an unexpected ü at character 1"),
        ("1; x", "the expression has an unexpected ; at character 2"),
        ("1..2", "the expression has an unexpected . at character 3"),
        (".", ". is not a number"),
        ("1e", "1e is not a number"),
        ("x + 1", "x is not known here"),
        ("system(1)", "system is not known here"),
        ("sqrt 4", "sqrt is not known here"),
        ("sqrt(1, 2)", "sqrt takes one argument, not 2"),
        ("min()", "the expression has an unexpected ) at character 5"),
        ("1/0", "the expression divides by zero"),
        ("1 % (2-2)", "the expression divides by zero"),
        ("sqrt(-1)", "the result is not a finite number"),
        ("10^400", "the result is not a finite number"),
    ];
    for (expression, expected) in table {
        assert_eq!(
            run(&json!({ "expression": expression })),
            ToolOutput::error(expected),
            "{expression}"
        );
    }
    assert!(run(&json!({})).is_error && run(&json!({ "expression": 7 })).is_error);
}

#[test]
fn no_expression_is_longer_or_deeper_than_its_bounds() {
    for nested in ["(", "-", "2^", "min(", "abs(-(2^"] {
        let expression = nested.repeat(MAX_BYTES / nested.len());
        assert!(
            evaluate(&expression)
                .unwrap_err()
                .contains("nested more than 50 deep"),
            "{nested}"
        );
    }
    assert_eq!(
        evaluate(&format!("1{}", " ".repeat(MAX_BYTES - 1))),
        Ok(1.0)
    );
    assert!(
        evaluate(&" ".repeat(MAX_BYTES + 1))
            .unwrap_err()
            .contains("more than 1000 bytes")
    );
}

proptest! {
    #[test]
    fn any_text_ends_in_a_finite_number_or_in_words(text in ".{0,80}", formal in "[0-9a-z+*/%^(),. -]{0,80}") {
        for expression in [text, formal] {
            match evaluate(&expression) {
                Ok(number) => prop_assert!(number.is_finite()),
                Err(problem) => prop_assert!(problem.len() <= 200, "{problem}"),
            }
        }
    }

    #[test]
    fn a_number_is_read_as_it_is_shown(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
        prop_assert_eq!(evaluate(&shown(number)), Ok(number));
    }
}
