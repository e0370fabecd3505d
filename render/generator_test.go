package render

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes kustomizations.
type generator struct {
	*rand.Rand
	files map[string]string
	next  int
	// made are the names of objects, which others refer to.
	made []string
}

func (g *generator) String() string { return fmt.Sprintf("%q", g.files) }

func (g *generator) oneOf(of ...string) string { return of[g.IntN(len(of))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) directory(dir string, depth int) {
	var refs []string
	for range 1 + g.IntN(3) {
		g.next++
		switch {
		case depth > 0 && g.chance(50):
			name := fmt.Sprintf("d%d", g.next)
			g.directory(dir+"/"+name, depth-1)
			refs = append(refs, name)
		default:
			name := fmt.Sprintf("f%d.yaml", g.next)
			g.files[dir+"/"+name] = g.file()
			refs = append(refs, name)
		}
	}
	k := "resources: [" + strings.Join(refs, ", ") + "]\n"
	for g.chance(22) {
		k += g.change()
	}
	g.files[dir+"/kustomization.yaml"] = k
}

func (g *generator) change() string {
	return g.oneOf(
		"labels: [{pairs: {a: b}}]\n", "labels: [{pairs: {a: b}, includeSelectors: true}]\n", "labels: [{pairs: {a: b}, includeTemplates: true}]\n",
		"commonAnnotations: {note: text}\n", "images: [{name: app, newTag: other}]\n", "images: [{name: app, newTag: more}]\n",
		"replicas: [{name: one, count: 3}]\n",
		"namePrefix: pre-\n", "nameSuffix: -suf\n", "namespace: moved\n", "configMapGenerator: [{name: one, literals: [a=b]}]\n",
		"patches: [{patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {x: y}}'}]\n",
		"patches: [{target: {kind: Deployment}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/labels\", \"value\": {\"p\": \"q\"}}]'}]\n",
		"patches: [{target: {labelSelector: 'a=b'}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/labels/p\", \"value\": \"q\"}]'}]\n",
		"patches: [{target: {}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/annotations\", \"value\": {\"spec\": \"versions\"}}]'}]\n",
		"patches: [{target: {kind: Custom.*}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/annotations\", \"value\": {\"p\": \"q\"}}]'}]\n",
		"patches: [{target: {kind: .*, name: .*-a}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/labels\", \"value\": {\"p\": \"q\"}}]'}]\n",
		"patches: [{target: {group: apiextensions.k8s.io}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/annotations\", \"value\": {\"p\": \"q\"}}]'}]\n",
		"patches: [{target: {kind: Custom.*}, patch: '[{\"op\": \"copy\", \"from\": \"/spec/versions/0/schema\", \"path\": \"/metadata/annotations\"}]'}]\n",
		"patches: [{target: {kind: Custom.*}, patch: '[{\"op\": \"move\", \"from\": \"/metadata/name\", \"path\": \"/metadata/labels\"}]'}]\n",
		`patches: [{target: {kind: Custom.*}, patch: '[{"op":"add","path":"/metadata/annotations","value":{"internal.config\u002ekubernetes.io/needsHashSuffix":"enabled"}}]'}]`+"\n",
		`patches: [{target: {kind: Custom.*}, patch: "- {op: add, path: /metadata/annotations, value: {p: q}, <<: {path: /spec/versions/0/schema}}"}]`+"\n",
		`patches: [{target: {kind: Custom.*}, patch: "[]\n---\n{apiVersion: v1, kind: Any, metadata: {name: a}, spec: {versions: []}}"}]`+"\n",
		`patches: [{target: {kind: Custom.*}, patch: "- {op: add, path: /metadata/annotations, value: {p: q}}\n---\n- {op: remove, path: /spec}"}]`+"\n",
		"commonAnnotations: {config.kubernetes.io/local-config: \"true\"}\n",
		"patches: [{target: {kind: CustomResourceDefinition}, patch: '[{\"op\": \"add\", \"path\": \"/spec/versions/0/schema/note\", \"value\": \"x\"}]'}]\n",
		"patches: [{target: {name: .*}, patch: '[{\"op\": \"test\", \"path\": \"/metadata/name\", \"value\": \"one\"}]'}]\n",
		"patches: [{target: {kind: .*Definition}, patch: '[{\"op\": \"remove\", \"path\": \"/spec/versions/0/schema/openAPIV3Schema/description\"}]'}]\n",
		"patches: [{patch: '{apiVersion: apiextensions.k8s.io/v1, kind: \"CustomResource\\u0044efinition\", metadata: {name: crd}, spec: {note: x}}'}]\n",
		"replacements: [{source: {kind: CustomResourceDefinition, fieldPath: spec.versions.0.schema.openAPIV3Schema.description}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.ref]}]}]\n",
		"replacements: [{source: {kind: Deployment, fieldPath: spec.replicas}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.ref]}]}]\n",
		"labels: [{pairs: {a: b}, fields: [{path: spec/versions/schema/labels, create: true}]}]\n",
		"buildMetadata: [originAnnotations]\n", "sortOptions: {order: fifo}\n", "metadata: {name: x}\n", "generatorOptions: {disableNameSuffixHash: true}\n",
	)
}

func (g *generator) file() string {
	var docs []string
	for range 1 + g.IntN(3) {
		docs = append(docs, g.object())
	}
	if g.chance(5) {
		docs = append(docs, "# nothing\n")
	}
	return strings.Join(docs, "---\n")
}

func (g *generator) object() string {
	name := g.oneOf("one", "two", "three", "four", "five", "six", "seven", "eight") + g.oneOf("", "", "-a", "-b", "-c", "-d", "-e", "-f")
	meta := "metadata:\n  name: " + name + "\n"
	if ns := g.oneOf("", "", "", "", "default", "apps", "infra"); ns != "" {
		meta += "  namespace: " + ns + "\n"
	}
	if g.chance(3) {
		meta += "  annotations: {" + g.oneOf(`config.kubernetes.io/local-config: "true"`, `"config.kubernetes.io/local\u002dconfig": "true"`,
			`internal.config.kubernetes.io/previousNames: two, internal.config.kubernetes.io/previousNamespaces: apps, internal.config.kubernetes.io/previousKinds: ConfigMap`, `harmless: "true"`) + "}\n"
	}
	ref := g.oneOf("one", "two", "three", "pre-one")
	if len(g.made) > 0 && g.chance(80) {
		ref = g.oneOf(g.made...)
	}
	g.made = append(g.made, name)
	switch g.IntN(11) {
	case 9, 10:
		return g.definition(name)
	case 0:
		return "apiVersion: v1\nkind: ServiceAccount\n" + meta
	case 1:
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + g.oneOf("RoleBinding", "ClusterRoleBinding") + "\n" + meta +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: " + g.oneOf("Role", "ClusterRole") + ", name: " + ref + "}\n" +
			"subjects: [{kind: ServiceAccount, name: " + ref + g.oneOf("", ", namespace: apps", ", namespace: default") + "}]\n"
	case 2:
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + g.oneOf("Role", "ClusterRole") + "\n" + meta + "rules: [{apiGroups: [''], resources: [secrets], resourceNames: [" + ref + "], verbs: [get]}]\n"
	case 3, 4:
		return "apiVersion: apps/v1\nkind: Deployment\n" + meta + "spec:\n  replicas: 1\n  template:\n    spec:\n      serviceAccountName: " + ref +
			"\n      containers: [{name: c, image: app:1, envFrom: [{configMapRef: {name: " + ref + "}}]}]\n      volumes: [{name: v, configMap: {name: " + ref + "}}]\n"
	case 5:
		return "apiVersion: " + g.oneOf("example.com/v1", "example.com/v2") + "\nkind: " + g.oneOf("Thing", "ThingList") + "\n" + meta + "spec: &s {ref: " + ref + "}\nother: *s\n"
	case 6:
		return "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + "-x}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + "-y, namespace: apps}}\n"
	default:
		return "apiVersion: v1\nkind: ConfigMap\n" + meta + "data: {ref: " + ref + g.oneOf("", ", empty: \"\"", ", multi: \"a\\nb\"") + "}\n"
	}
}

// definition is a definition with schemas that are worth to be taken out, in one of
// the ways that people write them.
func (g *generator) definition(name string) string {
	words := strings.Repeat(g.oneOf("a description of a field ", "\u00e9l\u00e9ment: <b>&amp;</b> ", "spec.names "), 100)
	note := g.oneOf("plain", `"true"`, "true", "0x1F", "1.0", "2001-01-01", "~", `"\u2028x\U0001F600"`)
	meta := "metadata: {name: " + name + ", annotations: {note: " + note + "}, creationTimestamp: null}\n"
	schema := "openAPIV3Schema: {type: object, description: '" + words + "', x-int: 0x1F, x-float: 1.50, x-null: ~, x-date: 2001-01-01, properties: {a: {type: string, default: \"no\"}, b: {maximum: 1e3}}}"
	if g.chance(60) { // as they are generated
		schema = "openAPIV3Schema: {type: object, description: '" + words + "', x-int: 31, x-float: 1.5, x-null: null, x-date: \"2001-01-01\", x-large: " + g.oneOf("9007199254740993", "9223372036854775807", "1e21", "0.1", "7", "7", "7", "7") + ", properties: {a: {type: string, default: \"no\"}, b: {maximum: 1000}, \"2\": {minimum: -0.25, enum: [\"1\", yes, \"<\"]}}}"
	}
	switch g.IntN(7) {
	case 3:
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n" + meta + "spec:\n  versions:\n  - name: v1\n    schema:\n      " + schema + "\n      <<: {more: things}\n"
	case 0:
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n" + meta + "spec:\n  versions:\n  - name: v1\n    schema: &s\n      " + schema + "\n  - name: v2\n    schema: *s\n"
	case 1:
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n" + meta + "spec:\n  versions:\n  - name: v1\n    schema: " + markPrefix + "x\n"
	case 2:
		return "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: " + name + "}, spec: {versions: [{name: v1, served: yes, schema: {" + schema + "}}]}, status: {x: y}}\n"
	default:
		return "# a comment\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n" + meta +
			"spec:\n  group: g\n  conversion: {strategy: Webhook, webhook: {clientConfig: {service: {name: one, namespace: apps}}}}\n  versions:\n  - name: v1\n    schema: # more\n      " + schema + "\n" +
			g.oneOf("", "  - name: v2\n    schema: {"+schema+"}\n") + "status: {conditions: []}\n"
	}
}
