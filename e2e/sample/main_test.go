package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

// The program says what it was built with, as its own build information has it.
func TestItNamesItsCompiler(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("there is no build information")
	}
	if said := greeting(); !strings.HasPrefix(said, "built by the factory with ") || !strings.HasSuffix(said, " "+info.GoVersion) {
		t.Errorf("it says %q, and was built with %s", said, info.GoVersion)
	}
}
