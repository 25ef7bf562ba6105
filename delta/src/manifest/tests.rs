use object_store::memory::InMemory;

use super::*;

fn manifest(attempt: &str) -> Manifest {
    let mut manifest = Manifest::new("abc", attempt, 1_700_000_000_000);
    let key = UnitKey {
        commodity: "coffee".to_owned(),
        model_name: "naive".to_owned(),
        model_version: "v1".to_owned(),
        date: -3,
    };
    manifest.keys = vec![(key.clone(), 2000)];
    manifest.failures = vec![UnitFailure {
        key: key.clone(),
        error_class: "stale".to_owned(),
        message: "too \"old\"".to_owned(),
    }];
    manifest.leaks = vec![key];
    manifest.input = Some(SliceInput {
        rows: 7,
        newest: None,
    });
    manifest.files = BTreeMap::from([(
        TableName::Distributions,
        vec![NewFile {
            path: "forecast/distributions/a b.parquet".to_owned(),
            size: 3,
            partition_values: vec![("commodity".to_owned(), None)],
            modified_ms: 1,
            stats: "{}".to_owned(),
        }],
    )]);
    manifest
}

fn place() -> (Arc<dyn ObjectStore>, Path) {
    (Arc::new(InMemory::new()), Path::from("a lake"))
}

#[tokio::test]
async fn the_first_put_wins_and_every_later_one_reads_it() {
    let (store, root) = place();
    assert_eq!(Manifest::get(&store, &root, "abc").await.unwrap(), None);
    let first = manifest("one");
    assert_eq!(first.put(&store, &root).await.unwrap(), first);
    assert_eq!(manifest("two").put(&store, &root).await.unwrap(), first);
    assert_eq!(
        Manifest::get(&store, &root, "abc").await.unwrap(),
        Some(first)
    );
}

#[tokio::test]
async fn a_removed_manifest_may_be_put_again() {
    let (store, root) = place();
    manifest("one").put(&store, &root).await.unwrap();
    let names = ["abc".to_owned(), "never there".to_owned()];
    Manifest::remove(&store, &root, &names).await.unwrap();
    assert_eq!(Manifest::get(&store, &root, "abc").await.unwrap(), None);
    let second = manifest("two").put(&store, &root).await.unwrap();
    assert_eq!(second.attempt, "two");
}

#[tokio::test]
async fn files_count_as_there_only_whole() {
    let (store, root) = place();
    let manifest = manifest("one");
    let path = root
        .clone()
        .join("forecast")
        .join("distributions")
        .join("a b.parquet");
    assert!(!manifest.files_exist(&store, &root).await.unwrap());
    store.put(&path, "xx".into()).await.unwrap();
    assert!(!manifest.files_exist(&store, &root).await.unwrap());
    store.put(&path, "xxx".into()).await.unwrap();
    assert!(manifest.files_exist(&store, &root).await.unwrap());
}

/// What may stand where a manifest is expected and is none.
fn unreadable() -> Vec<Vec<u8>> {
    let whole = serde_json::to_vec(&manifest("one")).unwrap();
    let mut garbled = whole.clone();
    garbled[whole.len() / 2] = 0xff;
    let mut newer = manifest("one");
    newer.format = FORMAT + 1;
    let mut foreign = manifest("one");
    foreign.slice = "abd".to_owned();
    let others = [newer, foreign].map(|other| serde_json::to_vec(&other).unwrap());
    let cut = whole[..whole.len() - 1].to_vec();
    [vec![], cut, garbled].into_iter().chain(others).collect()
}

#[tokio::test]
async fn what_cannot_be_read_as_the_manifest_of_its_slice_is_no_manifest_and_goes() {
    for body in unreadable() {
        let (store, root) = place();
        let path = Manifest::path(&root, "abc");
        store.put(&path, body.clone().into()).await.unwrap();
        let found = Manifest::get(&store, &root, "abc").await.unwrap();
        assert_eq!(found, None, "{}", String::from_utf8_lossy(&body));
        let gone = store.head(&path).await.unwrap_err();
        assert!(
            matches!(gone, object_store::Error::NotFound { .. }),
            "{gone}"
        );
    }
}

#[tokio::test]
async fn a_put_takes_the_place_of_what_cannot_be_read() {
    for body in unreadable() {
        let (store, root) = place();
        let path = Manifest::path(&root, "abc");
        store.put(&path, body.into()).await.unwrap();
        let second = manifest("two");
        assert_eq!(second.put(&store, &root).await.unwrap(), second);
        assert_eq!(
            Manifest::get(&store, &root, "abc").await.unwrap(),
            Some(second)
        );
    }
}
