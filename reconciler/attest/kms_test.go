package attest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
)

// A plugin is found on the PATH, which is the process's: no parallel test.
func TestAKeyManagementServiceSignsThroughItsPlugin(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "sigstore-kms-filekeys"), "./testdata/kmsplugin")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v\n%s", err, out)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	file := filepath.Join(dir, "key.pem")
	text := newKeyPEM(t)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := attest.OpenKMS(t.Context(), "filekeys://"+file)
	if err != nil {
		t.Fatal(err)
	}
	same, err := attest.ParseKey(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := key.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := same.Fingerprint(); err != nil || mine != theirs {
		t.Errorf("it has fingerprint %s, and the file %s: %v", mine, theirs, err)
	}
	bundle, err := attest.KeyFile{Key: key}.Sign(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.VerifyBundle(bundle.JSON, nil, offline(same)); err != nil {
		t.Errorf("what the service signed: %v", err)
	}
	// The service is away, or has lost the key: no signature, and no crash.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := (attest.KeyFile{Key: key}).Sign(t.Context(), statement(t)); err == nil {
		t.Error("it signs without its key")
	}
	for _, ref := range []string{"filekeys://" + file, "nosuchplugin://key", "nothing"} {
		if _, err := attest.OpenKMS(t.Context(), ref); err == nil {
			t.Errorf("%s is a key", ref)
		}
	}
}
