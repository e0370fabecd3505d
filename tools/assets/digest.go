package assets

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// modulePath is the first line of the root module's go.mod, by which the root
// is told from the nested modules on the way up.
const modulePath = "module millwright.dev/millwright"

// digest names all that the asset is made from. Files are read, not only
// looked at: they are few and small, and times of files lie after a checkout.
// The C compiler and its libraries do not count: they are the machine's own, and
// the few programs with C in them are for trying only.
func (b builder) digest(a asset) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s/%s\n%s\n%s\n", b.toolchain.version, runtime.GOOS, runtime.GOARCH, strings.Join(a.names, " "), strings.Join(a.flags(), "\x00"))
	if a.cgo {
		fmt.Fprintf(h, "%s\n", strings.Join(a.env(), " "))
	}
	if err := hashDir(h, b.root, a.module); err != nil {
		return "", fmt.Errorf("reading %s: %w", a.module, err)
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// hashDir hashes a folder's files in the order of their names, without tests
// and prose, which do not go into a program.
func hashDir(h hash.Hash, root, dir string) error {
	return filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".md") || !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %x\n", filepath.ToSlash(rel), sum.Sum(nil))
		return nil
	})
}

// findRoot finds the repository: upwards from the working folder, which is the
// package's own in a test, or else where this file was compiled from.
func findRoot() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) { // not absolute with -trimpath
		starts = append(starts, filepath.Dir(file))
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			if isRoot(dir) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("the millwright repository is neither here nor above: run this inside a clone of it")
}

func isRoot(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); strings.HasPrefix(line, "module ") {
			return line == modulePath
		}
	}
	return false
}
