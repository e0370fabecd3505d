package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
)

const rbacLong = `rbac says what a factory's service accounts have to be allowed: for each
component an account with exactly the rights that applying its objects takes, and
for the controller what it needs to look at them and to act as those accounts.
It reads the rendered manifests and asks no cluster.

Whoever administers the cluster applies what it prints, or the folder that
--write makes. The controller never does: it cannot give rights to itself.
After a change of the manifests the rights are made anew; --leaving names the
tree before, so that what it declared and the new one does not can be deleted.

Comments in the output are findings for whoever reviews it: wildcards, roles
bound by name, and what touches the factory's own accounts.`

type rbacVerb struct {
	root, environment, leaving string
	component, write, check    string
	accounts                   rights.Accounts
	out                        string
}

func newRBACCommand(a *app) *cobra.Command {
	var v rbacVerb
	cmd := &cobra.Command{
		Use: "rbac", Short: "Say which rights a factory's service accounts need", Long: rbacLong, Args: cobra.NoArgs,
		Example: "  millwright rbac --environment local\n  millwright rbac --environment local --check overlays/local/millwright/rights",
		RunE:    func(*cobra.Command, []string) error { return v.run(a) },
	}
	f := cmd.Flags()
	f.StringVar(&v.root, "root", ".", "`directory` that holds factory-config/, bases/ and overlays/")
	f.StringVar(&v.environment, "environment", "local", "environment of factory-config/factory.yaml")
	f.StringVar(&v.leaving, "leaving", "", "`directory` of the tree before, whose other objects are to be deleted")
	f.StringVar(&v.accounts.Factory, "factory", "factory", "name of the Factory, after which its inventory records are named")
	f.StringVar(&v.component, "component", "", "only the account of this `component`")
	f.StringVarP(&v.accounts.Namespace, "namespace", "n", "millwright-system", "namespace of the Factory, which has the accounts")
	f.StringVar(&v.accounts.Prefix, "service-account-prefix", "millwright-", "spec.apply.serviceAccountPrefix of the Factory")
	f.StringVar(&v.accounts.Controller, "controller", "millwright-controller", "service account of the controller")
	f.StringVar(&v.write, "write", "", "`directory` to write, a file for each account")
	f.StringVar(&v.check, "check", "", "`directory` to compare with; exit code 3 when it differs")
	f.StringVarP(&v.out, "output", "o", "yaml", "yaml or json")
	cmd.MarkFlagsMutuallyExclusive("write", "check", "component")
	return cmd
}

func (v *rbacVerb) run(a *app) error {
	if v.out != "yaml" && v.out != string(outputJSON) {
		return usageError{fmt.Errorf("-o must be yaml or json, not %q", v.out)}
	}
	r, err := v.compute()
	if err != nil {
		return err
	}
	if v.component != "" {
		i := slices.IndexFunc(r.Components, func(c rights.Account) bool { return c.Component == v.component })
		if i < 0 {
			return usageError{fmt.Errorf("there is no component %q", v.component)}
		}
		r = rights.Rights{Accounts: r.Accounts, Components: r.Components[i : i+1]}
	}
	if v.out == string(outputJSON) {
		return a.print(outputJSON, rightsJSON(r), nil)
	}
	files, err := rightsFiles(r)
	if err != nil {
		return err
	}
	switch {
	case v.write != "":
		return writeRights(v.write, files)
	case v.check != "":
		return v.compare(a, files)
	}
	for _, f := range files {
		if f.name != kustomizationFile {
			_, _ = fmt.Fprint(a.out, f.text)
		}
	}
	return nil
}

func (v *rbacVerb) compute() (rights.Rights, error) {
	m, recreates, err := v.render(v.root)
	if err != nil {
		return rights.Rights{}, err
	}
	var leaving rights.Leaving
	if v.leaving != "" {
		before, _, err := v.render(v.leaving)
		if err != nil {
			return rights.Rights{}, fmt.Errorf("the tree before: %w", err)
		}
		leaving = before.Objects()
	}
	r, err := rights.Compute(m, v.accounts, leaving, recreates)
	switch {
	case errors.Is(err, rights.ErrUnknownKind):
		err = unknown{"KindUnknown", "add the definition of the kind to the component that installs it", err}
	case errors.Is(err, rights.ErrAccounts):
		err = usageError{err}
	}
	return r, err
}

func (v *rbacVerb) render(root string) (render.Manifests, rights.Recreates, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return render.Manifests{}, nil, fmt.Errorf("opening the tree: %w", err)
	}
	defer dir.Close()
	rendered, err := reconciler.Render(&render.Renderer{}, dir.FS(), v.environment)
	if err != nil {
		return render.Manifests{}, nil, err
	}
	return rendered.Manifests(), rendered.Recreates, nil
}

const (
	kustomizationFile = "kustomization.yaml"
	namespacesFile    = "namespaces.yaml"
	rightsHeader      = "# Made by millwright rbac. Do not edit: change the manifests and make it anew.\n"
)

// rightsFile is one file of the folder.
type rightsFile struct{ name, text string }

// rightsFiles are the files of the folder that --write makes, in the order in
// which they can be applied.
func rightsFiles(r rights.Rights) ([]rightsFile, error) {
	var out []rightsFile
	add := func(name string, findings []rights.Finding, objects []any) error {
		var b strings.Builder
		b.WriteString(rightsHeader)
		for _, f := range findings {
			b.WriteString("# " + f.String() + "\n")
		}
		for _, o := range objects {
			text, err := yaml.Marshal(o)
			if err != nil {
				return fmt.Errorf("printing %s: %w", name, err)
			}
			b.WriteString("---\n" + string(text))
		}
		out = append(out, rightsFile{name, b.String()})
		return nil
	}
	if len(r.Namespaces) > 0 {
		if err := add(namespacesFile, nil, r.NamespaceObjects()); err != nil {
			return nil, err
		}
	}
	accounts := r.Components
	if r.Controller.Name != "" {
		accounts = append([]rights.Account{r.Controller}, accounts...)
	}
	for _, account := range accounts {
		if err := add(account.Name+".yaml", account.Findings, account.Objects()); err != nil {
			return nil, err
		}
	}
	var list strings.Builder
	list.WriteString(rightsHeader + "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for _, f := range out {
		list.WriteString("- " + f.name + "\n")
	}
	return append(out, rightsFile{kustomizationFile, list.String()}), nil
}

// writeRights makes the folder what it should be; it removes files of accounts
// that are gone.
func writeRights(dir string, files []rightsFile) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // manifests are for everybody to read
		return fmt.Errorf("making the folder: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return fmt.Errorf("listing the folder: %w", err)
	}
	for _, path := range found {
		made, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the folder: %w", err)
		}
		if !strings.HasPrefix(string(made), rightsHeader) {
			return fmt.Errorf("%s was not made by this command: name a folder of its own", path)
		}
	}
	for _, path := range found {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("emptying the folder: %w", err)
		}
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), 0o644); err != nil { //nolint:gosec // as above
			return fmt.Errorf("writing the folder: %w", err)
		}
	}
	return nil
}

// compare says which files differ from those that would be written.
func (v *rbacVerb) compare(a *app, files []rightsFile) error {
	differ := false
	say := func(format string, args ...any) {
		differ = true
		_, _ = fmt.Fprintf(a.out, format+"\n", args...)
	}
	wanted := map[string]bool{}
	for _, f := range files {
		wanted[f.name] = true
		have, err := os.ReadFile(filepath.Join(v.check, f.name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			say("%s is missing", f.name)
		case err != nil:
			return fmt.Errorf("reading what is there: %w", err)
		case string(have) != f.text:
			say("%s differs: %s", f.name, firstDifference(string(have), f.text))
		}
	}
	found, err := filepath.Glob(filepath.Join(v.check, "*.yaml"))
	if err != nil {
		return fmt.Errorf("listing the folder: %w", err)
	}
	for _, path := range found {
		if name := filepath.Base(path); !wanted[name] {
			say("%s is of no account of this factory", name)
		}
	}
	if !differ {
		_, _ = fmt.Fprintf(a.out, "%s has the rights that the manifests need\n", v.check)
		return nil
	}
	return errNo
}

// firstDifference names the first line that is not the same.
func firstDifference(have, want string) string {
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range w {
		if i >= len(h) || h[i] != w[i] {
			was := "the end of the file"
			if i < len(h) {
				was = fmt.Sprintf("%q", h[i])
			}
			return fmt.Sprintf("line %d is %s, should be %q", i+1, was, w[i])
		}
	}
	return fmt.Sprintf("line %d is %q, should be the end of the file", len(w)+1, h[len(w)])
}

// accountJSON is an account for programs.
type accountJSON struct {
	Component string           `json:"component,omitempty"`
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Objects   []any            `json:"objects"`
	Findings  []rights.Finding `json:"findings,omitempty"`
}

func rightsJSON(r rights.Rights) any {
	out := struct {
		Namespaces []string      `json:"namespaces,omitempty"`
		Accounts   []accountJSON `json:"accounts"`
	}{Namespaces: r.Namespaces}
	accounts := r.Components
	if r.Controller.Name != "" {
		accounts = append([]rights.Account{r.Controller}, accounts...)
	}
	for _, a := range accounts {
		out.Accounts = append(out.Accounts, accountJSON{a.Component, a.Namespace, a.Name, a.Objects(), a.Findings})
	}
	return out
}
