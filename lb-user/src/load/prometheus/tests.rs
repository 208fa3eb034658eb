use proptest::prelude::*;

use super::*;

const ANSWER: &str = r#"# HELP cpu_use How busy.
# TYPE cpu_use gauge
cpu_use 25.5
# TYPE cpu_use_total counter
cpu_use_total 7
# TYPE queue gauge
queue{name="a", kind = "x",} 1 1395066363000
queue{name="b",kind="x"} 2
queue{name="with \"quotes\", \\ and } braces",kind="y"} 4e0

# A comment.
	run_queue	  3
broken NaN
huge +Inf
below -1
"#;

fn load(selector: &str) -> Result<f64, ValueError> {
    Selector::parse(selector).unwrap().load(ANSWER.as_bytes())
}

#[test]
fn a_metric_is_found_by_its_whole_name() {
    assert_eq!(load("cpu_use"), Ok(25.5));
    assert_eq!(load(" run_queue "), Ok(3.0));
    assert_eq!(load("cpu"), Err(ValueError::NoMetric("cpu".into())));
    assert_eq!(load("use"), Err(ValueError::NoMetric("use".into())));
}

#[test]
fn labels_choose_among_its_samples_and_those_chosen_are_summed() {
    assert_eq!(load("queue"), Ok(7.0));
    assert_eq!(load(r#"queue{kind="x"}"#), Ok(3.0));
    assert_eq!(load(r#"queue { kind = "x", name="b", }"#), Ok(2.0));
    assert_eq!(load(r#"queue{name="with \"quotes\", \\ and } braces"}"#), Ok(4.0));
    assert_eq!(load(r#"queue{other=""}"#), Ok(7.0));
    let none = r#"queue{name="c"}"#;
    assert_eq!(load(none), Err(ValueError::NoSample(none.into())));
}

#[test]
fn a_counter_and_what_is_no_load_are_refused() {
    assert_eq!(load("cpu_use_total"), Err(ValueError::Counter("cpu_use_total".into())));
    assert!(matches!(load("broken"), Err(ValueError::NotFinite(_))));
    assert!(matches!(load("huge"), Err(ValueError::NotFinite(_))));
    assert_eq!(load("below"), Err(ValueError::Negative(-1.0)));
}

#[test]
fn a_line_that_is_cut_off_is_no_sample() {
    let all = r#"q{a="1",b="\n"} 2"#;
    let selector = Selector::parse("q").unwrap();
    assert_eq!(selector.load(all.as_bytes()), Ok(2.0));
    for end in 2..all.len() {
        let cut = selector.load(&all.as_bytes()[..end]);
        assert!(matches!(cut, Err(ValueError::BadSample(_))), "{}", &all[..end]);
    }
}

#[test]
fn only_names_with_equal_labels_select() {
    for text in ["", "{a=\"1\"}", "1a", "-"] {
        assert_eq!(Selector::parse(text), Err(SelectorError::Name), "{text}");
    }
    for text in
        ["a b", "a{", "a{}x", "a{b}", "a{b!=\"1\"}", "a{b=~\"1\"}", "a{b=1}", "a{b:c=\"1\"}"]
    {
        assert_eq!(Selector::parse(text), Err(SelectorError::Labels), "{text}");
    }
}

proptest! {
    #[test]
    fn a_selector_is_shown_as_it_can_be_read(name in "[a-z_:][a-z0-9_:]{0,5}", value: String) {
        let selector = Selector { name, labels: vec![("a".into(), value), ("b".into(), "1".into())] };
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn no_answer_makes_it_panic(answer in "(q|[{}=\",\\\\\n# 0-9]|é|TYPE){0,40}") {
        let _ = Selector::parse("q").unwrap().load(answer.as_bytes());
        let _ = Selector::parse(&answer);
    }
}
