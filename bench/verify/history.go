package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify"
)

// history is a repository that is being made: linear, with a merge of a branch
// of one commit in every tenth place.
type history struct {
	pack    bytes.Buffer
	objects uint32
	// line are the commits of the first-parent line, the anchor first; counted
	// says how many commits lie between the anchor and each of them.
	line    []gitverify.ID
	counted []int
	blobs   [folders][files]gitverify.ID
	policy  gitverify.ID
}

// A tree of sixteen folders with sixteen files each: a change makes two trees.
const folders, files = 16, 16

// signer puts a signature into a commit.
type signer func(unsigned []byte) ([]byte, error)

// newHistory makes the anchor, which nobody signs.
func newHistory(policy string) *history {
	h := &history{}
	for d := range folders {
		for f := range files {
			h.blobs[d][f] = h.put("blob", fmt.Appendf(nil, "%d %d\n", d, f))
		}
	}
	blob := h.put("blob", []byte(policy))
	h.policy = h.put("tree", entries(entry("40000", "trust", h.put("tree", entries(entry("100644", "policy.yaml", blob))))))
	h.line, h.counted = []gitverify.ID{h.put("commit", h.commit(0))}, []int{0}
	return h
}

// grow adds commits until so many lie after the anchor.
func (h *history) grow(ctx context.Context, n int, sign signer) error {
	for made := h.counted[len(h.counted)-1]; made < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		head := h.line[len(h.line)-1]
		parents := []gitverify.ID{head}
		made++
		if made%10 == 9 && made < n { // the branch, and after it the merge
			side, err := sign(h.change(made, head))
			if err != nil {
				return err
			}
			parents = append(parents, h.put("commit", side))
			made++
		}
		body := h.commit(made, parents...)
		if len(parents) == 1 {
			body = h.change(made, head)
		}
		signed, err := sign(body)
		if err != nil {
			return err
		}
		h.line, h.counted = append(h.line, h.put("commit", signed)), append(h.counted, made)
	}
	return nil
}

// change is a commit that changes one file.
func (h *history) change(n int, parents ...gitverify.ID) []byte {
	h.blobs[n%folders][n/folders%files] = h.put("blob", fmt.Appendf(nil, "version %d\n", n))
	return h.commit(n, parents...)
}

func (h *history) commit(n int, parents ...gitverify.ID) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", h.tree())
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	const who = "Alice <alice@factory.test> 1777636800 +0000"
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\nchange %d\n\nas the plan says\n", who, who, n)
	return b.Bytes()
}

func (h *history) tree() gitverify.ID {
	lines := []string{entry("40000", "factory-config", h.policy)}
	for d := range folders {
		var inner []string
		for f := range files {
			inner = append(inner, entry("100644", fmt.Sprintf("file%02d", f), h.blobs[d][f]))
		}
		lines = append(lines, entry("40000", fmt.Sprintf("folder%02d", d), h.put("tree", entries(inner...))))
	}
	return h.put("tree", entries(lines...))
}

func entry(mode, name string, id gitverify.ID) string {
	raw, err := hex.DecodeString(string(id))
	if err != nil {
		panic(err) // an id that put made
	}
	return mode + " " + name + "\x00" + string(raw)
}

func entries(lines ...string) []byte {
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[strings.Index(a, " "):], b[strings.Index(b, " "):]) })
	return []byte(strings.Join(lines, ""))
}

// put adds an object to the pack. An object that is there twice does no harm:
// git index-pack keeps one.
func (h *history) put(kind string, body []byte) gitverify.ID {
	sum := sha1.New()
	fmt.Fprintf(sum, "%s %d\x00", kind, len(body))
	sum.Write(body)
	types := map[string]byte{"commit": 1, "tree": 2, "blob": 3}
	size := len(body)
	first := types[kind]<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		h.pack.WriteByte(first | 0x80)
		first = byte(size & 0x7f)
	}
	h.pack.WriteByte(first)
	w := zlib.NewWriter(&h.pack)
	if _, err := w.Write(body); err != nil {
		panic(err) // memory takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	h.objects++
	return gitverify.ID(hex.EncodeToString(sum.Sum(nil)))
}

// write makes a bare repository of it, packed as git itself packs.
func (h *history) write(ctx context.Context, dir string) error {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("PACK"), 2), h.objects)
	sum := sha1.New()
	sum.Write(head)
	sum.Write(h.pack.Bytes())
	pack := slices.Concat(head, h.pack.Bytes(), sum.Sum(nil))
	if err := git(ctx, dir, nil, "init", "--quiet", "--initial-branch=main", "."); err != nil {
		return err
	}
	if err := git(ctx, dir, pack, "index-pack", "--stdin"); err != nil {
		return err
	}
	if err := git(ctx, dir, nil, "update-ref", "refs/heads/main", string(h.line[len(h.line)-1])); err != nil {
		return err
	}
	return git(ctx, dir, nil, "repack", "-a", "-d", "-q")
}

func git(ctx context.Context, dir string, in []byte, args ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, bytes.NewReader(in), plainEnv(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// plainEnv is an environment in which no configuration of the user counts.
func plainEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GNUPGHOME=" + filepath.Join(home, "gnupg"), "LC_ALL=C",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	}
}

// born is when all certificates are issued. It is now, since gitsign looks at
// the clock.
func born() time.Time { return time.Now().Add(-time.Hour) }
