//! Pure: `manifests/ingress-nginx.yaml` -> the ingress's objects as they are applied.

use serde_json::{Value, json};

use super::objects::MANAGED;
use crate::error::Fault;
use crate::tools::pins::Image;

/// Where it is, in the workspace.
pub const FILE: &str = "manifests/ingress-nginx.yaml";

/// The objects of the file's text. The pinned image, which the file names without a tag, is called `reference`. With
/// `meshed`, pods get a sidecar. `annotations` are added to every pod. Errors with what is wrong in the file.
pub fn objects(
    text: &str,
    pin: &Image,
    reference: &str,
    meshed: bool,
    annotations: &[(&str, String)],
) -> Result<Vec<Value>, Fault> {
    let inject = meshed.then(|| ("linkerd.io/inject", "enabled".to_owned()));
    let annotations: Vec<_> = annotations.iter().cloned().chain(inject).collect();
    let wrong = |why: String| Fault::usage(format!("{FILE}: {why}"));
    let mut objects: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| wrong(error.to_string()))?;
    for object in &mut objects {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let (Some(kind), Some(_)) = (kind.as_str(), name.as_str()) else {
            return Err(wrong("an object without `kind` or `metadata.name`".to_owned()));
        };
        let runs_pods = kind == "Deployment";
        object["metadata"]["labels"][MANAGED.0] = json!(MANAGED.1);
        if runs_pods {
            complete(&mut object["spec"]["template"], pin, reference, &annotations);
        }
    }
    Ok(objects)
}

/// A pod template with what the file leaves open.
fn complete(template: &mut Value, pin: &Image, reference: &str, annotations: &[(&str, String)]) {
    for container in template["spec"]["containers"].as_array_mut().into_iter().flatten() {
        // One that names its own tag is somebody's wish.
        if container["image"].as_str() == Some(pin.name()) {
            container["image"] = json!(reference);
        }
    }
    for (name, value) in annotations {
        template["metadata"]["annotations"][*name] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::{INGRESS_ACCOUNT, Reference};
    use crate::tools::pins::Versions;

    fn shipped(meshed: bool) -> Vec<Value> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let pin = Versions::read(root).unwrap().ingress_nginx;
        let text = std::fs::read_to_string(root.join(FILE)).unwrap();
        objects(&text, &pin, &pin.to_string(), meshed, &[]).unwrap()
    }

    fn find<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
        objects.iter().find(|object| object["kind"] == kind).unwrap()
    }

    #[test]
    fn the_shipped_controller_is_who_policies_and_urls_say() {
        let objects = shipped(false);
        let (account, namespace) = INGRESS_ACCOUNT;
        let found = &find(&objects, "ServiceAccount")["metadata"];
        assert_eq!((&found["name"], &found["namespace"]), (&json!(account), &json!(namespace)));
        let deployment = find(&objects, "Deployment");
        assert_eq!(deployment["metadata"]["namespace"], namespace);
        assert_eq!(deployment["spec"]["template"]["spec"]["serviceAccountName"], account);
        let service = find(&objects, "Service");
        for port in service["spec"]["ports"].as_array().unwrap() {
            let name = service["metadata"]["name"].as_str().unwrap();
            let url = format!("{}://{name}.{namespace}:{}", port["name"].as_str().unwrap(), port["port"]);
            let reference = Reference::parse(&url).unwrap().unwrap();
            assert!(
                reference.is_ingress_service() && reference.is_ingress() == (port["port"] == 80),
                "{url}"
            );
        }
        for object in &objects {
            assert_eq!(object["metadata"]["labels"][MANAGED.0], MANAGED.1, "{object}");
        }
    }

    #[test]
    fn it_runs_the_pinned_image_and_is_meshed_when_asked() {
        let template = |meshed| find(&shipped(meshed), "Deployment")["spec"]["template"].clone();
        let image = template(false)["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
        assert!(
            image.starts_with("registry.k8s.io/ingress-nginx/controller:v") && image.contains("@sha256:")
        );
        assert_eq!(template(true)["metadata"]["annotations"], json!({ "linkerd.io/inject": "enabled" }));
        let mut without = template(true);
        without["metadata"].as_object_mut().unwrap().remove("annotations");
        assert_eq!(without, template(false));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let pin = Image { image: "a:1".into(), digest: String::new() };
        let refused = |text: &str| objects(text, &pin, "a:1", false, &[]).unwrap_err().to_string();
        insta::assert_snapshot!(refused("kind: Service"), @"manifests/ingress-nginx.yaml: an object without `kind` or `metadata.name`");
    }
}
