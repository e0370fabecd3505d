package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// serve answers GET with the files of a folder: no list of them, no index, and
// nothing that is not a plain file.
//
// With -separator __ it serves a mounted ConfigMap, whose keys have no slashes:
// the path /targets/NAME is the key targets__NAME. Elements that contain the
// separator, or begin or end with a part of it, have no key; see flatName.
func serve(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder (required)")
	addr := flags.String("addr", ":8080", "address to listen on")
	separator := flags.String("separator", "", "what stands for a slash in the names of files: __, or nothing for a folder with folders")
	if err := refusal.Parse(flags, args, out); err != nil {
		return err
	}
	if *dir == "" || (*separator != "" && *separator != flatSeparator) {
		return refusal.Usage("-dir is required, and -separator is %q or empty", flatSeparator)
	}
	root, err := os.OpenRoot(*dir)
	if err != nil {
		return fmt.Errorf("opening the folder: %w", err)
	}
	defer root.Close()
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	srv := &http.Server{
		Handler:           fileHandler{root: root, flat: *separator != ""},
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 5 * time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	fmt.Fprintf(out, "serving on %s\n", lis.Addr())
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// fileHandler serves files. The root follows the links of a ConfigMap's volume
// (key → ..data/key → ..TIME/key), and no link that leads out of it.
type fileHandler struct {
	root *os.Root
	flat bool
}

func (h fileHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	name, ok := fileName(r.URL.Path, h.flat)
	if !ok {
		http.NotFound(w, r)
		return
	}
	f, err := h.root.Open(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", contentType(name))
	// Metadata changes under its name (timestamp.json), and clients ask seldom.
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", info.ModTime(), f)
}

func contentType(name string) string {
	if path.Ext(name) == ".json" {
		return "application/json"
	}
	return "application/octet-stream"
}

// flatSeparator stands for a slash in keys of ConfigMaps, which may have
// letters, digits, dots, hyphens and underscores only. One underscore would not
// do: names of targets have it, such as fulcio_v1.crt.pem.
const flatSeparator = "__"

// pathElement begins with neither a dot, which would be a hidden file or the
// machinery of a ConfigMap's volume, nor an underscore.
var pathElement = regexp.MustCompile(`^[A-Za-z0-9-]([A-Za-z0-9._-]*[A-Za-z0-9.-])?$`)

// fileName finds the file that a path of a request means.
func fileName(urlPath string, flat bool) (string, bool) {
	rel, ok := strings.CutPrefix(urlPath, "/")
	if !ok || len(rel) > maxPath {
		return "", false
	}
	elements := strings.Split(rel, "/")
	for _, e := range elements {
		if !pathElement.MatchString(e) {
			return "", false
		}
	}
	if !flat {
		return rel, true
	}
	return flatName(elements)
}

// flatName joins path elements into a key. No two paths have the same key: an
// element neither contains the separator, nor begins or ends with an
// underscore, so that each separator in a key was a slash.
func flatName(elements []string) (string, bool) {
	for _, e := range elements {
		if strings.Contains(e, flatSeparator) || strings.HasPrefix(e, "_") || strings.HasSuffix(e, "_") {
			return "", false
		}
	}
	key := strings.Join(elements, flatSeparator)
	return key, len(key) <= 253
}
