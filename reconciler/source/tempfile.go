package source

import (
	"fmt"
	"os"
)

// tempFile exists because the known_hosts parser reads files only. The data is
// not secret (host public keys), and the file is gone before the fetch starts.
func tempFile(data []byte) (path string, remove func(), err error) {
	f, err := os.CreateTemp("", "millwright-known-hosts-*")
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary file: %w", err)
	}
	remove = func() { _ = os.Remove(f.Name()) }
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		remove()
		return "", nil, fmt.Errorf("writing a temporary file: %w", err)
	}
	if err := f.Close(); err != nil {
		remove()
		return "", nil, fmt.Errorf("writing a temporary file: %w", err)
	}
	return f.Name(), remove, nil
}
