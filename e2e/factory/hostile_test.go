package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/e2e/node"
)

// attempts are all that e2e/hostile tries, with what comes of each outside of a
// build: that it can find something is known by its having found it there.
var attempts = map[string]string{
	"environment": "found", "token files": "found", "credentials of clouds and clients": "found",
	"sockets in files": "found", "sockets by name": "found", "mounts of an identity": "found",

	"API server by its service": "found", "API server on the node": "found", "registry": "found", "Git server": "found",
	"log of the people's Sigstore": "found", "time stamps of the people's Sigstore": "found", "kubelet": "found",
	"name server by TCP": "found", "name server by UDP": "found", "node by the gateway": "found", "echo from the gateway": "found",
	// The node drops IPv6 from every pod: what is tried is known to work by the tests of tools/pods.
	"node by its link-local address": "nothing",
	"raw socket":                     "found", "packet socket": "found",

	"write to the workspace source": "found", "write to the workspace deps": "found", "write to the workspace out": "found", "write to the workspace meta": "found",
	"write to the image": "found", "write the pod's own settings": "found", "links out of the tree": "found", "programs that give rights": "found",

	"processes of others": "found", "environment of others": "found", "files of others": "found", "ptrace": "found",
	"become root": "found", "new user namespace": "found",

	"mount": "found", "make a device": "found", "devices": "found", "the kernel's switches": "found", "limit of memory": "found",

	"credentials of Tekton": "found", "results of others": "found", "programs of Tekton": "found", "signs of other steps": "found",
	"results of an image": "left", "a process that stays": "left",
}

// hostile pushes a commit of e2e/hostile, with more files, to a branch of its own of
// the sample's repository, and says which it is.
func (f *factory) hostile(t *testing.T, branch string, more map[string]string) string {
	t.Helper()
	step := func(folder string, args ...string) string {
		out, err := f.as(t, "alice", folder, args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(out)
	}
	step("sample", "git", "worktree", "add", "--quiet", "--detach", "../"+branch)
	step(branch, "git", "rm", "--quiet", "-r", ".")
	dir := f.path("site", branch)
	own, err := filepath.Glob(filepath.Join("..", "hostile", "*"))
	if err != nil || len(own) == 0 {
		t.Fatalf("e2e/hostile: %q %v", own, err)
	}
	for _, from := range own {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(from)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range more {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if target, isLink := strings.CutPrefix(content, "link: "); err == nil && isLink {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	step(branch, "git", "add", "--all", "--force")
	step(branch, "git", "commit", "--quiet", "-S", "--message", "a hostile program")
	url := strings.Replace(step("factory", "git", "remote", "get-url", "origin"), "factory.git", "sample.git", 1)
	step(branch, "git", "push", "--quiet", url, "HEAD:refs/heads/"+branch)
	return step(branch, "git", "rev-parse", "HEAD")
}

// told is what came of each attempt, as a log has it.
func told(t *testing.T, log string) map[string]string {
	t.Helper()
	all, whole := map[string]string{}, false
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		whole = whole || line == "hostile: that was all"
		rest, ok := strings.CutPrefix(line, "hostile: ")
		if name, outcome, found := strings.Cut(rest, ": "); ok && found {
			all[name] = outcome
		}
	}
	if !whole {
		t.Errorf("the log does not say that it was all:\n%s", log)
	}
	return all
}

// compare checks that all attempts were made, and what came of each.
func compare(t *testing.T, log string, want func(outside string) string) {
	t.Helper()
	all := told(t, log)
	if got, want := slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(attempts)); !slices.Equal(got, want) {
		t.Errorf("what was tried is\n%q, not\n%q", got, want)
	}
	for name, outcome := range all {
		if want := want(attempts[name]); !strings.HasPrefix(outcome, want+": ") {
			t.Errorf("%s: want %s, got %s", name, want, outcome)
		}
	}
	t.Log(log)
}

// A commit whose tests attack the build finds nothing, its orders to the compiler are
// not obeyed, and what it left behind nobody believes. The same program finds all of
// it where it is.
func hostileFindsNothing(t *testing.T, f *factory) {
	commit := f.hostile(t, "hostile", ordersToTheCompiler())
	f.start(t, "hostile-1", commit, "registry.localhost:5000/sample", "registry.localhost:5000/hostile")
	f.succeeds(t, "hostile-1")
	log := f.must(t, "logs", "--namespace=build-sample", "hostile-1-test-pod", "--container=step-test")
	compare(t, log, func(outside string) string {
		if outside == "left" {
			return outside
		}
		return "nothing"
	})
	if results := f.must(t, "get", "taskrun", "hostile-1-test", "--namespace=build-sample", "--output=jsonpath={.status.results}{.status.steps[*].results}"); results != "" {
		t.Errorf("the run of the tests has results: %s", results)
	}
	image := f.image(t, "hostile-1")
	f.saidOf(t, "hostile-1", "signed")
	out, err := f.cosign(t, "slsaprovenance1", builder, image)
	if err != nil {
		t.Fatal(err)
	}
	for envelope := range strings.Lines(out) {
		if statement := payload(t, envelope); strings.Contains(statement, "hostile-forged") || strings.Contains(statement, strings.Repeat("f", 40)) || !strings.Contains(statement, commit) {
			t.Errorf("the provenance has what the program wrote:\n%s", statement)
		}
	}
	if left, err := exec.CommandContext(t.Context(), "pgrep", "--full", "hostile-stays").Output(); err == nil {
		t.Errorf("the process that was to stay is there: %s", left)
	}
	t.Run("a pod has no more processes than it may", func(t *testing.T) { processesAreBounded(t, f) })
	t.Run("a link out of the tree", func(t *testing.T) { linksAreNotCloned(t, f) })
	t.Run("the twin", func(t *testing.T) { twin(t, f, image) })
	f.over(t, "hostile-1", "linked-1")
}

// ordersToTheCompiler lie about in the tree, as a repository that wants to be obeyed
// would have them. What comes of each by itself is tried in compiler_test.go.
func ordersToTheCompiler() map[string]string {
	const obeyed = "GOFLAGS=-toolexec=./obeyed\n"
	return map[string]string{
		"obeyed": "#!/nothing\n", "go.env": obeyed, ".config/go/env": obeyed, "go/env": obeyed,
		"go.work":            "go 1.99\nuse /workspace/deps\n",
		"vendor/modules.txt": "# factory.test/other v1.0.0\n## explicit\nfactory.test/other\n",
		"with_c.go":          "package main\n\n// #cgo LDFLAGS: -fuse-ld=./obeyed\nimport \"C\"\n",
	}
}

// Within its container a program does not see the limit, which is the pod's: so the
// node is asked.
func processesAreBounded(t *testing.T, f *factory) {
	var limits []string
	for _, pattern := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		for _, depth := range []string{"/kubepods/pod*/pids.max", "/kubepods/*/pod*/pids.max"} {
			there, err := filepath.Glob(pattern + node.ControlGroup(f.path("node")) + depth)
			if err != nil {
				t.Fatal(err)
			}
			limits = append(limits, there...)
		}
	}
	if len(limits) < 10 {
		t.Fatalf("the node has pods with limits %q", limits)
	}
	for _, file := range limits {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) != "4096" {
			t.Errorf("%s is %s", file, b)
		}
	}
}

// A commit with a link is not cloned: what is built are files and folders.
func linksAreNotCloned(t *testing.T, f *factory) {
	commit := f.hostile(t, "linked", map[string]string{"testdata/token": "link: /var/run/secrets/kubernetes.io/serviceaccount/token", "testdata/others": "link: /proc/1/root"})
	f.start(t, "linked-1", commit, "registry.localhost:5000/sample", "registry.localhost:5000/linked")
	f.fails(t, "linked-1")
	if log := f.must(t, "logs", "--namespace=build-sample", "linked-1-source-pod", "--container=step-clone"); !strings.Contains(log, "source/entry") {
		t.Errorf("the source was not refused for its links:\n%s", log)
	}
	f.nothingOf(t, "linked-1", "linked")
}

// twin runs the program, as the factory has built it, outside of a build.
func twin(t *testing.T, f *factory, image string) {
	if out, err := f.kubectlOf(t, manifest(t, "twin.yaml", "IMAGE", image), "create", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer f.must(t, "delete", "pod", "hostile", "--namespace=kube-system", "--grace-period=0", "--force")
	var log string
	eventually(t, time.Minute, "the twin had tried everything", func() error {
		var err error
		log, err = f.kubectl(t, "logs", "--namespace=kube-system", "hostile", "--container=twin")
		if err == nil && !strings.Contains(log, "that was all") {
			err = errors.New(log)
		}
		return err
	})
	compare(t, log, func(outside string) string { return outside })
}

// What its own tests do not accept is not published, and nothing is signed.
func failingIsNotPublished(t *testing.T, f *factory) {
	commit := f.hostile(t, "failing", map[string]string{"fail": ""})
	f.start(t, "failing-1", commit, "registry.localhost:5000/sample", "registry.localhost:5000/failing")
	f.fails(t, "failing-1")
	failed := f.must(t, "get", "taskruns", "--namespace=build-sample", "--selector=tekton.dev/pipelineRun=failing-1",
		`--output=jsonpath={range .items[?(@.status.conditions[0].status!="True")]}{.metadata.name} {end}`)
	if failed != "failing-1-test" && !strings.Contains(failed, "failing-1-test ") {
		t.Errorf("what failed is %q", failed)
	}
	if published, err := f.kubectl(t, "get", "taskrun", "failing-1-publish", "--namespace=build-sample"); err == nil {
		t.Errorf("publish was started: %s", published)
	}
	if log := f.must(t, "logs", "--namespace=build-sample", "failing-1-test-pod", "--container=step-test"); !strings.Contains(log, "this commit does not work") {
		t.Errorf("it failed for something else:\n%s", log)
	}
	f.nothingOf(t, "failing-1", "failing")
	f.over(t, "failing-1")
}

// What a program writes as the last words of its container, Tekton takes for results
// of the Task, and Chains would sign provenance of an image that nobody built.
func forgingIsNotBelieved(t *testing.T, f *factory) {
	stranger := f.must(t, "get", "deployment", "coredns", "--namespace=kube-system", "--output=jsonpath={.spec.template.spec.containers[0].image}")
	url, digest, _ := strings.Cut(stranger, "@")
	words := fmt.Sprintf(`[{"key":"IMAGE_URL","value":%q,"type":1},{"key":"IMAGE_DIGEST","value":%q,"type":1}]`, url, digest)
	commit := f.hostile(t, "forging", map[string]string{"termination.json": words})
	f.start(t, "forging-1", commit, "registry.localhost:5000/sample", "registry.localhost:5000/forging")
	eventually(t, 3*time.Minute, "the words were the last of the container", func() error {
		said, err := f.kubectl(t, "get", "pod", "forging-1-test-pod", "--namespace=build-sample", `--output=jsonpath={.status.containerStatuses[?(@.name=="step-test")].state.terminated.message}`)
		if err == nil && !strings.Contains(said, digest) {
			err = errors.New(said)
		}
		return err
	})
	eventually(t, time.Minute, "Tekton was refused what it would have said", func() error {
		if log := f.must(t, "logs", "--namespace=tekton-pipelines", "deployment/tekton-pipelines-controller", "--tail=500"); !strings.Contains(log, "has a result that its Task does not declare") {
			return errors.New("it was not")
		}
		return nil
	})
	if status := f.succeeded(t, "forging-1"); status != "Unknown" {
		t.Errorf("the run has ended with %q", status)
	}
	// It would go on until its time is up.
	f.must(t, "patch", "pipelinerun", "forging-1", "--namespace=build-sample", "--type=merge", `--patch={"spec":{"status":"Cancelled"}}`)
	f.fails(t, "forging-1")
	if results := f.must(t, "get", "taskrun", "forging-1-test", "--namespace=build-sample", "--output=jsonpath={.status.results}"); results != "" {
		t.Errorf("the run of the tests has results: %s", results)
	}
	f.nothingOf(t, "forging-1", "forging")
	if out, err := f.cosign(t, "slsaprovenance1", builder, stranger); err == nil {
		t.Errorf("there is provenance of an image that was not built here: %s", out)
	}
	f.refused(t, "mw-k10-release-images", manifest(t, "pod.yaml", "NAME", "forged", "IMAGE", stranger), "create", "-f", "-")
	f.over(t, "forging-1")
}
