package main

import (
	"fmt"
	"strings"
)

// corpus is what a factory repository holds beside the project's own factory.
type corpus struct {
	// factory says that the project's own factory, with all upstream manifests, is
	// part of it.
	factory bool
	// definitions is the number of generated resource definitions, properties
	// how large each is; apps the number of apps, four objects each.
	definitions, properties, apps int
}

const (
	// local is the overlay that everybody applies.
	local = "overlays/local"
	// inGroup is how many apps make a component: as many directories as the
	// renderer lets one component have, and some to spare.
	inGroup = 250
	// appsNamespace holds the apps.
	appsNamespace = "bench"
)

func groupName(group int) string { return fmt.Sprintf("apps-%02d", group) }
func appName(app int) string     { return fmt.Sprintf("app-%04d", app) }
func appDir(app int) string      { return groupName(app/inGroup) + "/" + appName(app) }

func image(version int) string { return fmt.Sprintf("registry.bench.test/app:%d", version) }

// files are all files of the corpus, without the project's own.
func (c corpus) files() map[string]string {
	out := map[string]string{}
	if c.definitions > 0 {
		var names []string
		for i := range c.definitions {
			name := fmt.Sprintf("machine%02d.yaml", i)
			out[local+"/definitions/"+name] = definition(i, c.properties)
			names = append(names, name)
		}
		out[local+"/definitions/kustomization.yaml"] = kustomization(names)
	}
	for app := range c.apps {
		out[local+"/"+appDir(app)+"/app.yaml"] = appManifest(app, 1)
		out[local+"/"+appDir(app)+"/kustomization.yaml"] = kustomization([]string{"app.yaml"})
	}
	for group := range c.groups() {
		var names []string
		for app := group * inGroup; app < min(c.apps, (group+1)*inGroup); app++ {
			names = append(names, appName(app))
		}
		out[local+"/"+groupName(group)+"/kustomization.yaml"] = kustomization(names)
	}
	out[local+"/bench-namespace/kustomization.yaml"] = kustomization([]string{"namespace.yaml"})
	out[local+"/bench-namespace/namespace.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + appsNamespace + "}\n"
	return out
}

func (c corpus) groups() int { return (c.apps + inGroup - 1) / inGroup }

// components are the components that the corpus adds, in the order of
// application.
func (c corpus) components() []string {
	out := []string{"bench-namespace"}
	if c.definitions > 0 {
		out = append(out, "definitions")
	}
	for group := range c.groups() {
		out = append(out, groupName(group))
	}
	return out
}

// factoryYAML lists the components that the corpus adds as factory.yaml does.
func (c corpus) factoryYAML() string {
	var b strings.Builder
	for i, name := range c.components() {
		fmt.Fprintf(&b, "  - name: %s\n    path: %s\n    drift: correct\n", name, name)
		if i > 0 {
			b.WriteString("    dependsOn: [bench-namespace]\n")
		}
	}
	return b.String()
}

// smallFactory is the head of a factory.yaml without the project's factory.
const smallFactory = `apiVersion: millwright.dev/v1alpha1
kind: FactoryConfig
metadata:
  name: factory
spec:
  environments:
  - name: local
    overlay: overlays/local
    health:
      mode: Unknown
      reason: no kubelet runs here, so nothing can report that it is ready
  components:
`

func kustomization(resources []string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- " + strings.Join(resources, "\n- ") + "\n"
}

// appManifest is an app as in Flux's own benchmark: nothing of it runs.
func appManifest(app, version int) string {
	return fmt.Sprintf(appTemplate, appName(app), appsNamespace, image(version))
}

// appTemplate wants the app's name, its namespace and its image.
const appTemplate = `apiVersion: v1
kind: ServiceAccount
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {app: %[1]s}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {app: %[1]s}
spec:
  replicas: 0
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      serviceAccountName: %[1]s
      containers:
      - name: app
        image: %[3]s
        ports: [{containerPort: 8080, name: http, protocol: TCP}]
        env:
        - {name: PORT, value: "8080"}
        - {name: NAME, value: %[1]s}
        readinessProbe:
          httpGet: {path: /ready, port: http}
        resources:
          limits: {cpu: 100m, memory: 64Mi}
          requests: {cpu: 10m, memory: 32Mi}
---
apiVersion: v1
kind: Service
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {app: %[1]s}
spec:
  selector: {app: %[1]s}
  ports: [{name: http, port: 80, protocol: TCP, targetPort: http}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: %[1]s
  namespace: %[2]s
  labels: {app: %[1]s}
spec:
  rules:
  - host: %[1]s.bench.test
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: %[1]s, port: {name: http}}}
`

// definition is a resource definition with as many properties as asked for, four
// deep, each with words about it: what those of Kyverno and Tekton consist of.
func definition(n, properties int) string {
	var b strings.Builder
	kind := fmt.Sprintf("Machine%02d", n)
	plural := strings.ToLower(kind) + "s"
	fmt.Fprintf(&b, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %[1]s.bench.millwright.dev
  labels: {bench: "yes"}
spec:
  group: bench.millwright.dev
  scope: Namespaced
  names: {kind: %[2]s, listKind: %[2]sList, plural: %[1]s, singular: %[3]s}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        description: %[2]s is a machine of a factory that is made up, with as many knobs as the real ones have.
        properties:
          spec:
            type: object
            properties:
`, plural, kind, strings.ToLower(kind))
	for i := range properties {
		fmt.Fprintf(&b, `              section%03[1]d:
                type: object
                description: Section %[1]d says how the %[2]s is set up while it is being installed, and what it may use.
                required: [name]
                properties:
                  name:
                    type: string
                    maxLength: 253
                    description: Name is what the section is called by those who refer to it, for example in a status.
                  rules:
                    type: array
                    maxItems: 64
                    description: Rules are tried one after the other, and the first that fits decides what happens.
                    items:
                      type: object
                      properties:
                        pattern:
                          type: string
                          description: Pattern is compared with the whole name; a star stands for any number of letters.
                        limit:
                          type: integer
                          format: int32
                          minimum: 0
                          description: Limit is how often the rule may fit within a minute before it is left out.
                        mode:
                          type: string
                          enum: [Audit, Enforce, Off]
                          description: Mode says whether the rule is enforced, told of, or left out altogether.
`, i, kind)
	}
	return b.String()
}
