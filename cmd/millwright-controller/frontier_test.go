package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestTheFrontierKeyIsMadeOnceAndForItsOwnerOnly(t *testing.T) { // row C25
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	first, err := frontierKey(path, strings.NewReader(strings.Repeat("a", 32)))
	if err != nil || len(first) != 32 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := frontierKey(path, strings.NewReader(strings.Repeat("b", 32)))
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the key changed: %q, %v", again, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReplicasThatStartTogetherAgreeOnTheFrontierKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	keys := make([][]byte, 8)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			keys[i], _ = frontierKey(path, strings.NewReader(strings.Repeat(string(rune('a'+i)), 32)))
		})
	}
	group.Wait()
	for _, k := range keys {
		if len(k) != 32 || !bytes.Equal(k, keys[0]) {
			t.Errorf("keys differ: %q and %q", k, keys[0])
		}
	}
}

func TestAFrontierKeyThatProtectsNothingIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode    os.FileMode
		content string
		want    string
	}{
		"one that everybody may read":  {0o644, strings.Repeat("k", 32), "chmod 600"},
		"one that everybody may write": {0o602, strings.Repeat("k", 32), "chmod 600"},
		"one that is empty":            {0o600, "", "0 bytes"},
		"one that is too short":        {0o600, strings.Repeat("k", 31), "31 bytes"},
		"one that is no key":           {0o600, strings.Repeat("k", 5000), "must have 32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := frontierKey(path, strings.NewReader(strings.Repeat("r", 64)))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "kkk") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := frontierKey(filepath.Join(t.TempDir(), "key"), strings.NewReader("short")); err == nil {
		t.Error("too little randomness makes a key")
	}
	if _, err := frontierKey(t.TempDir(), strings.NewReader(strings.Repeat("r", 64))); err == nil {
		t.Error("a directory is a key")
	}
}

func TestTheBuildIsNamedByItsBytes(t *testing.T) {
	t.Parallel()
	one, err := buildOf("1.0")
	if err != nil || !strings.HasPrefix(one, "1.0 sha256:") || len(one) != len("1.0 sha256:")+64 {
		t.Errorf("%q, %v", one, err)
	}
}
