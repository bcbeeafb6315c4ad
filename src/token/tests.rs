use super::*;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

const TODAY: i64 = 20_781;

fn keys() -> TokenKeys {
    TokenKeys::new([(1, [3; 32])])
}

fn exposure() -> Exposure<'static> {
    Exposure {
        environment: 1,
        day: TODAY,
        flag: "wechat-scan-pay".into(),
        stage: 3,
        rule: "ramp".into(),
        arm: Arm::Treatment,
        variant: "on".into(),
        unit_attribute: "user.id".into(),
        unit: "u-1".into(),
        bucket: Some(41_999),
        captured: SmallVec::from_iter([
            ("region".into(), "CN-31".into()),
            ("app_version".into(), "10.9.1".into()),
        ]),
    }
}

/// Adds the statement of `exposure`.
fn push(batch: &mut Batch<'_>, exposure: &Exposure<'_>) -> usize {
    let statement = decided(&Decided {
        flag: &exposure.flag,
        stage: exposure.stage,
        rule: &exposure.rule,
        arm: exposure.arm,
        variant: &exposure.variant,
        unit_attribute: &exposure.unit_attribute,
    });
    let captured = exposure.captured.iter().map(|(name, value)| (&**name, value));
    batch.push(&statement, &exposure.unit, exposure.bucket, captured)
}

fn seal(keys: &TokenKeys, exposure: &Exposure<'_>) -> String {
    let mut batch = Batch::new(keys.sealer(exposure.environment, exposure.day).unwrap(), 1);
    let place = push(&mut batch, exposure);
    String::from_utf8(batch.seal().text(place).unwrap().to_vec()).unwrap()
}

#[test]
fn a_token_says_what_was_sealed_and_is_the_same_each_time() {
    let token = seal(&keys(), &exposure());
    assert_eq!(token, seal(&keys(), &exposure()));
    assert_eq!(keys().open(&token, 1, TODAY), Ok(exposure()));
    assert!(!token.contains("u-1") && token.len() < 200, "{token}");
}

#[test]
fn the_format_is_kept_for_ever() {
    // Made by this program once: a token in a payment link must open after any upgrade.
    let token = seal(&keys(), &exposure());
    assert_eq!(
        token,
        "AQABAVEtAAAAAawv86aPBTrmpXV5ALBGusMaCr2Tr9EeL_5Bj6swM9p4K8FYrXQt3oIH1T15ME0UxrxIwdFHJVrUdDpezKNrfUoCr6pjrYWpeOXEXZ-Yau2OW0JJ"
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let token = seal(&keys(), &exposure());
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refused = keys().open(&URL_SAFE_NO_PAD.encode(changed), 1, TODAY);
        assert_eq!(refused, Err(TokenError::Invalid), "bit {bit}");
    }
    for length in 0..token.len() {
        assert_eq!(keys().open(token.get(..length).unwrap(), 1, TODAY), Err(TokenError::Invalid));
    }
}

#[test]
fn age_environment_and_key_are_checked() {
    let token = seal(&keys(), &exposure());
    for (environment, today, expected) in [
        (1, TODAY + 31, None),
        (1, TODAY + 32, Some(TokenError::Expired)),
        (1, TODAY - 1, None),
        (1, TODAY - 2, Some(TokenError::Invalid)),
        (2, TODAY, Some(TokenError::Foreign)),
    ] {
        assert_eq!(keys().open(&token, environment, today).err(), expected);
    }
    assert_eq!(TokenKeys::new([(1, [4; 32])]).open(&token, 1, TODAY), Err(TokenError::Invalid));
    let rotated = TokenKeys::new([(2, [4; 32]), (1, [3; 32])]);
    assert!(rotated.open(&token, 1, TODAY).is_ok());
    assert_ne!(seal(&rotated, &exposure()), token);
}

fn pass() -> StreamPass<'static> {
    StreamPass { environment: 2, key: "01a20e91-7c".into(), epoch: 2 * TODAY + 1 }
}

fn seal_stream(keys: &TokenKeys, pass: &StreamPass<'_>) -> String {
    let mut out = Vec::new();
    assert!(keys.seal_stream(pass, &mut out));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_pass_says_what_was_sealed_and_is_the_same_for_its_epoch() {
    let token = seal_stream(&keys(), &pass());
    assert_eq!(token, seal_stream(&keys(), &pass()));
    assert_eq!(keys().open_stream(&token, pass().epoch), Ok(pass()));
    let next = StreamPass { epoch: pass().epoch + 1, ..pass() };
    let other = StreamPass { key: "01a20e91-7d".into(), ..pass() };
    let foreign = StreamPass { environment: 1, ..pass() };
    for differing in [next, other, foreign] {
        assert_ne!(seal_stream(&keys(), &differing), token, "{differing:?}");
    }
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "it stands in a URL");
}

#[test]
fn a_pass_that_is_kept_is_given_for_itself_alone() {
    let kept = keys();
    let other = |environment, epoch, key: &'static str| StreamPass { environment, epoch, key: key.into() };
    let StreamPass { environment, epoch, .. } = pass();
    for _ in 0..2 {
        for (environment, epoch) in [(environment, epoch), (environment, epoch + 1), (environment + 1, epoch)]
        {
            for key in ["a", "b"] {
                let pass = other(environment, epoch, key);
                assert_eq!(seal_stream(&kept, &pass), seal_stream(&keys(), &pass), "{pass:?}");
            }
        }
    }
    assert_eq!(kept.passes.load().len(), 2, "the newest of each key");
    let held = kept.passes.load().get("b").map(|kept| kept.token.clone()).unwrap();
    let again = StreamPass { environment: environment + 1, epoch, key: "b".into() };
    let _token = seal_stream(&kept, &again);
    assert!(kept.passes.load().get("b").is_some_and(|kept| Arc::ptr_eq(&kept.token, &held)), "sealed once");
    for number in 0..PASSES_MAX * 2 {
        let _token = seal_stream(&kept, &StreamPass { key: number.to_string().into(), ..pass() });
        assert!(kept.passes.load().len() <= PASSES_MAX);
    }
}

#[test]
fn a_pass_is_accepted_until_two_epochs_have_passed() {
    let token = seal_stream(&keys(), &pass());
    for (epochs, expected) in [
        (-2, Some(TokenError::Invalid)),
        (-1, None),
        (0, None),
        (1, None),
        (2, Some(TokenError::Expired)),
        (400, Some(TokenError::Expired)),
    ] {
        let opened = keys().open_stream(&token, pass().epoch + epochs);
        assert_eq!(opened.err(), expected, "after {epochs} epochs");
    }
    assert_eq!((stream_epoch(STREAM_EPOCH_MS - 1), stream_epoch(STREAM_EPOCH_MS)), (0, 1));
}

#[test]
fn every_flipped_bit_cut_and_old_secret_of_a_pass_is_refused() {
    let token = seal_stream(&keys(), &pass());
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    let open = |keys: &TokenKeys, token: &str| keys.open_stream(token, pass().epoch);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = URL_SAFE_NO_PAD.encode(changed);
        assert_eq!(open(&keys(), &changed), Err(TokenError::Invalid), "bit {bit}");
    }
    for length in 0..token.len() {
        assert_eq!(open(&keys(), token.get(..length).unwrap()), Err(TokenError::Invalid));
    }
    assert_eq!(open(&TokenKeys::new([(1, [4; 32])]), &token), Err(TokenError::Invalid));
    assert_eq!(open(&TokenKeys::new([(2, [3; 32])]), &token), Err(TokenError::Invalid));
    assert_eq!(open(&TokenKeys::new([(2, [4; 32]), (1, [3; 32])]), &token), Ok(pass()), "rotated");
}

#[test]
fn neither_kind_passes_for_the_other() {
    let (statement, leave) = (seal(&keys(), &exposure()), seal_stream(&keys(), &pass()));
    assert_eq!(keys().open_stream(&statement, 2 * TODAY), Err(TokenError::Invalid));
    assert_eq!(keys().open(&leave, 2, TODAY), Err(TokenError::Invalid));
    // Not even with the other's purpose written over it: that byte is authenticated.
    let disguised = |token: &str, purpose: Purpose| {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
        bytes[3] = purpose as u8;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let statement = disguised(&statement, Purpose::Stream);
    assert_eq!(keys().open_stream(&statement, 2 * TODAY), Err(TokenError::Invalid));
    assert_eq!(keys().open(&disguised(&leave, Purpose::Exposure), 2, TODAY), Err(TokenError::Invalid));
}

proptest! {
    #[test]
    fn any_pass_survives(key in "\\PC{0,60}", environment in 0..i64::from(u32::MAX), epoch in 0..131_072_i64) {
        let pass = StreamPass { environment, key: key.into(), epoch };
        prop_assert_eq!(keys().open_stream(&seal_stream(&keys(), &pass), epoch), Ok(pass));
    }

    #[test]
    fn tokens_of_a_batch_are_those_of_each_alone(units in prop::collection::vec("\\PC{1,60}", 0..80)) {
        let keys = keys();
        let mut batch = Batch::new(keys.sealer(1, TODAY).unwrap(), 3);
        let statements: Vec<_> = units.into_iter().map(|unit| Exposure { unit: unit.into(), ..exposure() }).collect();
        for (place, statement) in statements.iter().enumerate() {
            prop_assert_eq!(push(&mut batch, statement), place);
        }
        let sealed = batch.seal();
        for (place, statement) in statements.iter().enumerate() {
            let alone = seal(&keys, statement);
            prop_assert_eq!(sealed.text(place).unwrap(), alone.as_bytes());
        }
        prop_assert_eq!(sealed.text(statements.len()), None);
    }

    #[test]
    fn any_text_is_refused_without_panic(text in "\\PC{0,300}") {
        prop_assert_eq!(keys().open(&text, 1, TODAY), Err(TokenError::Invalid));
    }

    #[test]
    fn any_statement_survives(unit in "\\PC{1,60}", attribute in "user\\.[a-z]{1,20}", bucket in prop::option::of(0..1_000_000_u32), stage in 0..i64::MAX) {
        let mut statement = exposure();
        (statement.unit, statement.unit_attribute) = (unit.into(), attribute.into());
        (statement.bucket, statement.stage) = (bucket, stage);
        let token = seal(&keys(), &statement);
        prop_assert_eq!(keys().open(&token, 1, TODAY), Ok(statement));
    }
}

#[test]
fn only_what_was_sealed_here_has_its_keys_kept() {
    let keys = keys();
    let kept = || keys.keys[0].derived.load().len();
    let bytes = URL_SAFE_NO_PAD.decode(seal(&keys, &exposure())).unwrap();
    assert_eq!(kept(), 1);
    for day in 0..100_u8 {
        let mut forged = bytes.clone();
        forged[5] ^= day + 1;
        assert!(keys.open(&URL_SAFE_NO_PAD.encode(forged), 1, TODAY).is_err());
    }
    assert_eq!(kept(), 1, "of others' tokens nothing stays");
    for day in 0..NONCES_MAX as i64 * 2 {
        let _token = seal(&keys, &Exposure { day, ..exposure() });
        assert!(kept() <= NONCES_MAX);
    }
    // Another process has kept nothing yet.
    let token = seal(&keys, &exposure());
    assert_eq!(TokenKeys::new([(1, [3; 32])]).open(&token, 1, TODAY), Ok(exposure()));
}

#[test]
fn there_is_no_sealer_for_numbers_out_of_range() {
    let keys = keys();
    assert!(keys.sealer(-1, TODAY).is_none() && keys.sealer(1, 65_536).is_none());
    let mut out = b"before".to_vec();
    assert!(!keys.seal_stream(&StreamPass { environment: -1, ..pass() }, &mut out));
    assert_eq!(out, b"before");
    assert!(keys.seal_stream(&pass(), &mut out));
    assert_eq!(out, [b"before", seal_stream(&keys, &pass()).as_bytes()].concat());
}

#[test]
fn a_mark_is_the_same_for_the_same_and_for_nothing_else() {
    let mark = |keys: &TokenKeys, body: &[u8], beside: &[u8]| keys.mark(2, TODAY, body, beside);
    let first = mark(&keys(), b"body", b"beside");
    assert!(first.is_some());
    assert_eq!(mark(&keys(), b"body", b"beside"), first, "of another process");
    for (body, beside) in [
        (&b"bodyb"[..], &b"eside"[..]),
        (b"bod", b"beside"),
        (b"body\0", b"beside"),
        (b"", b""),
        (b"beside", b"body"),
    ] {
        assert_ne!(mark(&keys(), body, beside), first, "{body:?} {beside:?}");
    }
    assert_ne!(keys().mark(1, TODAY, b"body", b"beside"), first);
    assert_ne!(keys().mark(2, TODAY + 1, b"body", b"beside"), first);
    assert_ne!(mark(&TokenKeys::new([(1, [4; 32])]), b"body", b"beside"), first);
    assert_ne!(
        mark(&TokenKeys::new([(2, [3; 32])]), b"body", b"beside"),
        first,
        "a rotated key makes other tokens"
    );
    assert_eq!(mark(&TokenKeys::new([]), b"body", b"beside"), None);
}

#[test]
fn no_mark_is_the_tag_of_a_token() {
    let keys = keys();
    for sealer in [keys.sealer(1, TODAY), keys.sealer_for(Purpose::Stream, 1, TODAY)] {
        let tag = sealer.unwrap().keys.tag(b"head", b"body");
        assert_ne!(keys.mark(1, TODAY, b"head", b"body"), Some(u128::from_be_bytes(tag)));
    }
}

#[test]
fn large_answers_and_small_ones_take_turns_in_one_thread() {
    let keys = keys();
    let tokens = |count: usize| {
        let mut batch = Batch::new(keys.sealer(1, TODAY).unwrap(), count);
        for at in 0..count {
            let unit = format!("unit-{at}");
            batch.push(b"decided", &unit, None, std::iter::empty::<(&str, &str)>());
        }
        let sealed = batch.seal();
        (0..count).map(|at| sealed.text(at).unwrap().to_vec()).collect::<Vec<_>>()
    };
    let many = tokens(2_000);
    for count in [1, 300, 2, 0, 2_000, 31] {
        assert_eq!(tokens(count), many[..count]);
    }
    // Two at once in a thread.
    let mut one = Batch::new(keys.sealer(1, TODAY).unwrap(), 1);
    let place = one.push(b"decided", "unit-0", None, std::iter::empty::<(&str, &str)>());
    assert_eq!(tokens(3), many[..3]);
    assert_eq!(one.seal().text(place).unwrap(), many[0]);
}
