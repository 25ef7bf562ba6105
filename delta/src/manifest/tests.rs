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

#[tokio::test]
async fn what_is_no_manifest_of_this_build_is_an_error_and_not_a_missing_slice() {
    let (store, root) = place();
    let path = Manifest::path(&root, "abc");
    store.put(&path, "{".into()).await.unwrap();
    let error = Manifest::get(&store, &root, "abc").await.unwrap_err();
    assert!(matches!(error, DeltaError::Json { .. }), "{error:?}");
    let mut newer = manifest("one");
    newer.format = FORMAT + 1;
    let body = serde_json::to_vec(&newer).unwrap();
    store.put(&path, body.into()).await.unwrap();
    let error = Manifest::get(&store, &root, "abc").await.unwrap_err();
    assert!(matches!(error, DeltaError::Corrupt { .. }), "{error:?}");
}
