// Command tekton-catalog signs what builds may consist of, so that Tekton refuses
// to run anything else, and checks such signatures as Tekton will.
//
//	kubectl kustomize overlays/ENVIRONMENT/catalog/unsigned |
//	  tekton-catalog sign -key catalog.key -out overlays/ENVIRONMENT/catalog/signatures.yaml
//	kubectl kustomize overlays/ENVIRONMENT/catalog | tekton-catalog verify
//
// sign reads rendered objects and writes a patch for kustomize with a signature
// (annotation tekton.dev/signature) for each Task and Pipeline among them. The key is
// an EC key on P-256 in PEM: plain, PKCS #8 with a password, or as cosign makes it;
// the password is in COSIGN_PASSWORD. The same objects and the same key give the same
// file.
//
// verify reads rendered objects, too, with the VerificationPolicies that go with them:
// in every namespace that has one, a run has to be able to use every Task and Pipeline.
//
// What is signed is what Tekton computes of an object after it has filled in what the
// object leaves open: name, namespace, labels, annotations and specification, in
// Tekton's own code. Nothing is signed that says less than it seems to: an image
// without a digest, or a reference that Tekton would not verify, is refused.
//
// It knows no cluster, and needs no network. Exit codes are those of the millwright
// command: 0 yes, 1 could not tell, 2 usage, 3 no.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// refusal is a definite no: it stays one until the input changes.
type refusal struct {
	reason, detail, hint string
}

// Error is one line: reason, what was seen, what would mend it.
func (r *refusal) Error() string {
	return fmt.Sprintf("refused: %s: %s; to mend it: %s", r.reason, r.detail, r.hint)
}

func refuse(reason, hint, format string, args ...any) error {
	return &refusal{reason: reason, detail: fmt.Sprintf(format, args...), hint: hint}
}

var errUsage = errors.New("usage: tekton-catalog sign -key FILE [-in FILE] [-out FILE] | tekton-catalog verify [-in FILE]")

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "tekton-catalog:", err)
	var no *refusal
	switch {
	case errors.Is(err, errUsage):
		os.Exit(2)
	case errors.As(err, &no):
		os.Exit(3)
	}
	os.Exit(1)
}

// options are the flags of both commands.
type options struct{ key, in, out string }

func run(ctx context.Context, args []string, in io.Reader, out, problems io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(problems)
	flags.StringVar(&o.in, "in", "", "`file` with the rendered objects; standard input without it")
	switch args[0] {
	case "sign":
		flags.StringVar(&o.key, "key", "", "`file` with the private key")
		flags.StringVar(&o.out, "out", "", "`file` for the patch, written when all is signed; standard output without it")
	case "verify":
	default:
		return fmt.Errorf("%w: there is no command %q", errUsage, args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 || args[0] == "sign" && o.key == "" {
		return errUsage
	}
	objects, err := o.read(in)
	if err != nil {
		return err
	}
	if args[0] == "verify" {
		return verify(ctx, objects, out)
	}
	return o.sign(ctx, objects, out)
}

func (o options) read(in io.Reader) (*objects, error) {
	if o.in == "" {
		return read(in)
	}
	f, err := os.Open(o.in)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f)
}

func (o options) sign(ctx context.Context, objects *objects, out io.Writer) error {
	k, err := loadKey(o.key, os.Getenv)
	if err != nil {
		return err
	}
	var patch bytes.Buffer
	if err := k.sign(ctx, objects, &patch); err != nil {
		return err
	}
	if o.out == "" {
		_, err := out.Write(patch.Bytes())
		return err
	}
	return replace(o.out, patch.Bytes())
}

// replace writes a file beside its place first: whoever is refused keeps what was
// there.
func replace(file string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
