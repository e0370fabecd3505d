package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Download is a module as a Downloader got it.
type Download struct {
	// Zip is the path of the module zip, which stays the downloader's.
	Zip string
	// GoModSum is the h1: hash of the module's go.mod.
	GoModSum string
}

// Downloader gets a module. The pins are empty where there are none yet.
// Its error is a *Refusal if the module is not what the pins say.
type Downloader func(ctx context.Context, want Lock) (Download, error)

// Go returns a Downloader that runs the go command (the name or path given) in
// a throwaway module. The command's own configuration (GOPROXY, GOMODCACHE,
// credentials) is the user's; what would weaken the check is not.
func Go(command string) Downloader {
	return func(ctx context.Context, want Lock) (Download, error) {
		dir, err := os.MkdirTemp("", "millwright-vendor-")
		if err != nil {
			return Download{}, fmt.Errorf("make a throwaway module: %w", err)
		}
		defer os.RemoveAll(dir)
		if err := writeModule(dir, want.Spec); err != nil {
			return Download{}, fmt.Errorf("make a throwaway module: %w", err)
		}
		return download(ctx, command, dir, want)
	}
}

// writeModule hands the pins to the go command in the form that it checks
// itself. Without pins go.sum stays empty, and it asks the checksum database.
func writeModule(dir string, s Spec) error {
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module throwaway.invalid\n\ngo 1.21\n"), 0o600); err != nil {
		return err
	}
	if s.Sum == "" || s.GoModSum == "" {
		return nil
	}
	sums := fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", s.Module, s.Version, s.Sum, s.Module, s.Version, s.GoModSum)
	return os.WriteFile(filepath.Join(dir, "go.sum"), []byte(sums), 0o600)
}

func download(ctx context.Context, command, dir string, want Lock) (Download, error) {
	s := want.Spec
	cmd := exec.CommandContext(ctx, command, "mod", "download", "-json", s.Module+"@"+s.Version)
	cmd.Dir = dir
	cmd.Env = checkedEnv(os.Environ())
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	runErr := cmd.Run()

	var answer struct{ Zip, Sum, GoModSum, Error string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil && runErr == nil {
		return Download{}, fmt.Errorf("read the answer of go mod download: %w", err)
	}
	failure := strings.TrimSpace(answer.Error)
	if failure == "" && runErr != nil {
		failure = strings.TrimSpace(diag.String() + " " + runErr.Error())
	}
	switch {
	case strings.Contains(failure, "checksum mismatch"):
		return Download{}, sumRefusal(want, "", "the go command found another module: "+oneLine(errors.New(failure)))
	case failure != "":
		return Download{}, fmt.Errorf("get %s@%s: %s", s.Module, s.Version, oneLine(errors.New(failure)))
	case answer.Zip == "":
		return Download{}, fmt.Errorf("get %s@%s: the go command named no zip", s.Module, s.Version)
	}
	return Download{Zip: answer.Zip, GoModSum: answer.GoModSum}, nil
}

// checkedEnv is the environment without what switches checks off or changes
// what is built. GONOSUMDB gets a pattern that matches nothing, because an empty
// variable would let a stored `go env -w` through.
func checkedEnv(environ []string) []string {
	drop := map[string]bool{
		"GOFLAGS": true, "GOWORK": true, "GOSUMDB": true, "GONOSUMDB": true,
		"GOINSECURE": true, "GO111MODULE": true, "GOTOOLCHAIN": true,
	}
	sumdb := "sum.golang.org"
	var env []string
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		// Another checksum database is a choice; none is not.
		if name == "GOSUMDB" && value != "" && value != "off" {
			sumdb = value
		}
		if !drop[name] {
			env = append(env, kv)
		}
	}
	return append(env, "GOFLAGS=-mod=mod", "GOWORK=off", "GOTOOLCHAIN=local", "GOSUMDB="+sumdb, "GONOSUMDB=none.invalid")
}

func sumRefusal(want Lock, got, hint string) error {
	return &Refusal{
		Reason: ReasonMismatch, Code: "upstream/sum", Component: want.Metadata.Name,
		Want: want.Spec.Sum, Got: got, Hint: hint,
	}
}
