package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	child()
	m.Run()
}

// TestNothingIsFound is what the factory's build runs. That it was not skipped there,
// the scenario AHostileCommitFindsNothing sees by its log, which has to have every attempt
// and its last line.
func TestNothingIsFound(t *testing.T) {
	if _, err := os.Stat("/tekton/bin/entrypoint"); err != nil {
		t.Skip("SKIPPED: this is no build of the factory, and it attacks nothing else")
	}
	for _, r := range tryAll() {
		fmt.Println(r)
		if r.outcome == found {
			t.Error(r)
		}
	}
	fmt.Println("hostile: that was all")
}

// TestWhatTheCommitAsksFor does what the commit has a file for.
func TestWhatTheCommitAsksFor(t *testing.T) {
	if _, err := os.Stat("fail"); err == nil {
		t.Fatal("this commit does not work")
	}
	// What Tekton reads when the container has ended: results of a Task, whether it
	// declares them or not.
	message, err := os.ReadFile("termination.json")
	if errors.Is(err, fs.ErrNotExist) {
		return // this commit asks for nothing
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/tekton/termination", message, 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Println("hostile: the last words are written")
}
