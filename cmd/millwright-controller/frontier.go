package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Bounds of the frontier key: what is generated, and what is read.
const (
	frontierKeySize    = 32
	maxFrontierKeySize = 4096
)

// frontierKey reads the key that seals what was verified, and makes the file
// with random bytes when it is not there. Whoever has the key and may write the
// data directory decides what counts as verified, so a file that everybody may
// read or write is refused.
func frontierKey(path string, random io.Reader) ([]byte, error) {
	key, err := readFrontierKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := writeFrontierKey(path, random); err != nil {
		return nil, fmt.Errorf("making --frontier-key-file: %w", err)
	}
	return readFrontierKey(path)
}

func readFrontierKey(path string) ([]byte, error) {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("reading --frontier-key-file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading --frontier-key-file: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o007 != 0 {
		return nil, fmt.Errorf("reading --frontier-key-file: its mode is %s: it has to be a file that not everybody may read or write (chmod 600)", mode)
	}
	key, err := io.ReadAll(io.LimitReader(file, maxFrontierKeySize+1))
	if err != nil {
		return nil, fmt.Errorf("reading --frontier-key-file: %w", err)
	}
	if len(key) < frontierKeySize || len(key) > maxFrontierKeySize {
		return nil, fmt.Errorf("reading --frontier-key-file: it has %d bytes, and must have %d to %d; delete it, and a new one is made", len(key), frontierKeySize, maxFrontierKeySize)
	}
	return key, nil
}

// writeFrontierKey lets the file appear with all of its bytes or not at all,
// and never replaces one: another replica may have made it meanwhile.
func writeFrontierKey(path string, random io.Reader) error {
	key := make([]byte, frontierKeySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".frontier-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(key)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// buildOf names this build by the bytes of the program, so that what one build
// has verified is verified again by the next.
func buildOf(release string) (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the program itself: %w", err)
	}
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", fmt.Errorf("reading the program itself: %w", err)
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("reading the program itself: %w", err)
	}
	return release + " sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
