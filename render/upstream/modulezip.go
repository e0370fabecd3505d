package upstream

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/dirhash"
)

// archive is a module zip in memory: what is hashed is what is taken, whatever
// happens to the file meanwhile.
type archive struct {
	prefix string
	files  map[string]*zip.File
	names  []string
}

var errTooBig = errors.New("over its bound")

// openArchive reads the zip of module@version once.
func openArchive(name, modulePath, version string) (*archive, error) {
	data, err := readBounded(name, maxZipBytes)
	if err != nil {
		return nil, fmt.Errorf("read module zip: %w", err)
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("open module zip: %w", err)
	}
	if len(r.File) > maxZipEntries {
		return nil, fmt.Errorf("open module zip: %d entries: %w", len(r.File), errTooBig)
	}
	a := &archive{prefix: modulePath + "@" + version + "/", files: make(map[string]*zip.File, len(r.File))}
	var total uint64
	for _, f := range r.File {
		// The h1: sum covers names and contents; which of two equal names it
		// covered would be a matter of reading order.
		if a.files[f.Name] != nil {
			return nil, fmt.Errorf("open module zip: entry %q appears twice", f.Name)
		}
		if total += f.UncompressedSize64; total > maxUnzipped {
			return nil, fmt.Errorf("open module zip: contents: %w", errTooBig)
		}
		a.files[f.Name] = f
		a.names = append(a.names, f.Name)
	}
	return a, nil
}

// sum is the h1: hash as go.sum holds it.
func (a *archive) sum() (string, error) {
	// archive/zip stops at the size an entry declares, which was bounded above.
	s, err := dirhash.Hash1(a.names, func(name string) (io.ReadCloser, error) {
		return a.files[name].Open()
	})
	if err != nil {
		return "", fmt.Errorf("hash module zip: %w", err)
	}
	return s, nil
}

// take returns the content of a file of the module, as a regular file only:
// the h1: sum does not cover an entry's mode.
func (a *archive) take(component, from string) ([]byte, error) {
	f := a.files[a.prefix+from]
	if f == nil {
		return nil, &Refusal{
			Reason: ReasonMismatch, Code: "upstream/file-missing", Component: component, File: from,
			Hint: "the module has no such file: correct the path, or take it off the list and out of kustomization.yaml",
		}
	}
	if !f.Mode().IsRegular() {
		return nil, &Refusal{
			Reason: ReasonMismatch, Code: "upstream/not-regular", Component: component, File: from,
			Want: "regular file", Got: f.Mode().Type().String(),
			Hint: "links and special files are never taken: name the file itself",
		}
	}
	if f.UncompressedSize64 > maxFileBytes {
		return nil, &Refusal{
			Reason: ReasonMismatch, Code: "upstream/size", Component: component, File: from,
			Want: fmt.Sprintf("at most %d bytes", maxFileBytes), Got: fmt.Sprintf("%d bytes", f.UncompressedSize64),
			Hint: "take a smaller file, or split the component",
		}
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("open %s in module zip: %w", from, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s in module zip: %w", from, err)
	}
	return data, nil
}

func digest(data []byte) string {
	d := sha256.Sum256(data)
	return hex.EncodeToString(d[:])
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w", name, errTooBig)
	}
	return data, nil
}
