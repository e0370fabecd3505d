package forgekey_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
)

func fingerprint(key *packet.PublicKey) string { return fmt.Sprintf("%X", key.Fingerprint) }

// packetOf is what is inside the armor.
func packetOf(t testing.TB, armored []byte) []byte {
	t.Helper()
	block := must(armor.Decode(bytes.NewReader(armored)))(t)
	return must(io.ReadAll(block.Body))(t)
}

// bodyOf is a short packet without its header, which is of the new form.
func bodyOf(t testing.TB, whole []byte) []byte {
	t.Helper()
	if whole[0] != 0xc2 || whole[1] >= 192 || int(whole[1]) != len(whole)-2 {
		t.Fatalf("not a short signature packet: % x", whole[:2])
	}
	return whole[2:]
}

func newForm(body []byte) []byte { return append([]byte{0xc2, byte(len(body))}, body...) }

// forgery signs the payload with PGP as the template says.
func forgery(t testing.TB, key *packet.PrivateKey, template packet.Signature, signed string) []byte {
	t.Helper()
	template.Version, template.PubKeyAlgo = 4, key.PubKeyAlgo
	template.CreationTime = key.CreationTime
	if template.IssuerKeyId == nil {
		template.IssuerKeyId = &key.KeyId
	}
	h := template.Hash.New()
	h.Write([]byte(signed))
	if err := template.Sign(h, key, nil); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := template.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOnlyOneFormOfAPGPSignatureCounts(t *testing.T) {
	t.Parallel()
	forge := must(forgekeytest.New(forgekey.PGP))(t)
	stranger := must(forgekeytest.New(forgekey.PGP))(t).Entity().PrimaryKey.KeyId
	keys := []forgekey.Key{forge.Key("forge")}
	signature := func(s packet.Signature) []byte {
		if s.Hash == 0 {
			s.Hash = crypto.SHA256
		}
		return forgery(t, forge.Entity().PrivateKey, s, payload)
	}
	good := signature(packet.Signature{})
	body := bodyOf(t, good)
	edited := func(change func(b []byte) []byte) []byte { return newForm(change(bytes.Clone(body))) }
	// The template has hashed subpackets only; what nothing signs begins here.
	loose := 6 + int(body[4])<<8 + int(body[5])
	insert := func(sub ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			return slices.Concat(b[:loose], []byte{0, byte(len(sub) + int(b[loose+1]))}, sub, b[loose+2:])
		}
	}
	issuer := binary.BigEndian.AppendUint64([]byte{9, 16}, forge.Entity().PrimaryKey.KeyId)
	if !bytes.Contains(body[:loose], issuer) {
		t.Fatal("the signature does not name the key where it is signed, as it should for this test")
	}
	lifetime := uint32(60)
	for name, c := range map[string]struct {
		packets []byte
		want    error // nil: accepted
	}{
		"as it should be":                   {good, nil},
		"the old form of a header":          {append([]byte{0x88, byte(len(body))}, body...), nil},
		"a length longer than it need be":   {slices.Concat([]byte{0xc2, 255, 0, 0, 0, byte(len(body))}, body), forgekey.ErrMalformed},
		"an old length longer than it need": {slices.Concat([]byte{0x89, 0, byte(len(body))}, body), forgekey.ErrMalformed},
		"a length left open":                {append([]byte{0x8b}, body...), forgekey.ErrMalformed},
		"a partial length":                  {slices.Concat([]byte{0xc2, 0xe0}, body[:1], []byte{byte(len(body) - 1)}, body[1:]), forgekey.ErrMalformed},
		"two signatures":                    {slices.Concat(good, good), forgekey.ErrMalformed},
		"a marker before it":                {append([]byte{0xca, 3, 'P', 'G', 'P'}, good...), forgekey.ErrMalformed},
		"padding behind it":                 {append(bytes.Clone(good), 0xd5, 1, 0), forgekey.ErrMalformed},
		"a byte behind it":                  {append(bytes.Clone(good), 0), forgekey.ErrMalformed},
		"a byte behind its numbers":         {edited(func(b []byte) []byte { return append(b, 0) }), forgekey.ErrMalformed},
		"nothing":                           {nil, forgekey.ErrMalformed},
		"a header alone":                    {[]byte{0xc2, 0}, forgekey.ErrMalformed},
		"another packet":                    {append([]byte{0xcb, byte(len(body))}, body...), forgekey.ErrMalformed},
		"version 3":                         {edited(func(b []byte) []byte { b[0] = 3; return b }), forgekey.ErrMalformed},
		"version 6":                         {edited(func(b []byte) []byte { b[0] = 6; return b }), forgekey.ErrMalformed},
		"of text":                           {signature(packet.Signature{SigType: packet.SigTypeText}), forgekey.ErrMalformed},
		"of a key":                          {signature(packet.Signature{SigType: packet.SigTypeGenericCert}), forgekey.ErrMalformed},
		"SHA-1":                             {edited(func(b []byte) []byte { b[3] = 2; return b }), forgekey.ErrAlgorithm},
		"SHA-224":                           {edited(func(b []byte) []byte { b[3] = 11; return b }), forgekey.ErrAlgorithm},
		"MD5":                               {edited(func(b []byte) []byte { b[3] = 1; return b }), forgekey.ErrAlgorithm},
		"DSA":                               {edited(func(b []byte) []byte { b[2] = 17; return b }), forgekey.ErrAlgorithm},
		"RSA claimed, EdDSA inside":         {edited(func(b []byte) []byte { b[2] = 1; return b }), forgekey.ErrMalformed},
		"with an end":                       {signature(packet.Signature{SigLifetimeSecs: &lifetime}), forgekey.ErrMalformed},
		"names two keys":                    {signature(packet.Signature{IssuerKeyId: &stranger}), forgekey.ErrMalformed},
		"other numbers":                     {edited(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), forgekey.ErrBadSignature},
		"other octets of the digest":        {edited(func(b []byte) []byte { b[loose+2] ^= 1; return b }), forgekey.ErrBadSignature},
		"a number with a zero before it":    {edited(func(b []byte) []byte { return slices.Concat(b[:loose+4], []byte{1, 8, 0}, b[loose+6:]) }), forgekey.ErrMalformed},
		"unsigned time":                     {edited(insert(5, 2, 0, 0, 0, 0)), forgekey.ErrMalformed},
		"unsigned remark":                   {edited(insert(2, 100, 'x')), forgekey.ErrMalformed},
		"an unsigned signature":             {edited(insert(2, 32, 4)), forgekey.ErrMalformed},
		"an empty subpacket":                {edited(insert(0)), forgekey.ErrMalformed},
		"a subpacket that is cut":           {edited(insert(9, 16, 0)), forgekey.ErrMalformed},
		"the issuer twice":                  {edited(insert(issuer...)), forgekey.ErrMalformed},
		"an exportable flag without a flag": {edited(func(b []byte) []byte { return slices.Concat(b[:5], []byte{b[5] + 2, 1, 4}, b[6:]) }), forgekey.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := forgekey.Verify(keys, []byte(payload), forgekeytest.ArmorPGP("PGP SIGNATURE", c.packets))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestOnlyOneFormOfAnSSHSignatureCounts(t *testing.T) {
	t.Parallel()
	forge := must(forgekeytest.New(forgekey.SSH))(t)
	rsa := must(forgekeytest.NewSSH(must(forgekeytest.SSHKeys())(t)["RSA"]))(t)
	keys := []forgekey.Key{forge.Key("forge"), rsa.Key("rsa")}
	blob := func(f *forgekeytest.Forge, fields forgekeytest.SSHFields) []byte {
		return must(f.BlobSSH(fields, []byte(payload)))(t)
	}
	usual := forgekeytest.SSHFields{Namespace: "git", Hash: "sha512", Algorithm: ssh.KeyAlgoED25519}
	with := func(change func(*forgekeytest.SSHFields)) []byte {
		fields := usual
		change(&fields)
		return blob(forge, fields)
	}
	good := blob(forge, usual)
	for name, c := range map[string]struct {
		blob []byte
		want error
	}{
		"as it should be":            {good, nil},
		"RSA with SHA-512":           {blob(rsa, forgekeytest.SSHFields{Namespace: "git", Hash: "sha512", Algorithm: ssh.KeyAlgoRSASHA512}), nil},
		"RSA with SHA-256":           {blob(rsa, forgekeytest.SSHFields{Namespace: "git", Hash: "sha512", Algorithm: ssh.KeyAlgoRSASHA256}), nil},
		"RSA with SHA-1":             {blob(rsa, forgekeytest.SSHFields{Namespace: "git", Hash: "sha512", Algorithm: ssh.KeyAlgoRSA}), forgekey.ErrAlgorithm},
		"for a file":                 {with(func(f *forgekeytest.SSHFields) { f.Namespace = "file" }), forgekey.ErrMalformed},
		"for nothing":                {with(func(f *forgekeytest.SSHFields) { f.Namespace = "" }), forgekey.ErrMalformed},
		"for git and more":           {with(func(f *forgekeytest.SSHFields) { f.Namespace = "git\x00" }), forgekey.ErrMalformed},
		"with reserved bytes":        {with(func(f *forgekeytest.SSHFields) { f.Reserved = "x" }), forgekey.ErrMalformed},
		"a digest by SHA-1":          {with(func(f *forgekeytest.SSHFields) { f.Hash = "sha1" }), forgekey.ErrAlgorithm},
		"a digest of another length": {with(func(f *forgekeytest.SSHFields) { f.Hash = "sha256" }), forgekey.ErrBadSignature},
		"a byte behind it":           {append(bytes.Clone(good), 0), forgekey.ErrMalformed},
		"cut":                        {good[:len(good)-1], forgekey.ErrMalformed},
		"nothing":                    {nil, forgekey.ErrMalformed},
		"version 2":                  {bytes.Replace(good, []byte("SSHSIG\x00\x00\x00\x01"), []byte("SSHSIG\x00\x00\x00\x02"), 1), forgekey.ErrMalformed},
		"a length over all":          {bytes.Replace(good, []byte("\x00\x00\x00\x03git"), []byte("\xff\xff\xff\xffgit"), 1), forgekey.ErrMalformed},
		"other numbers":              {append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), forgekey.ErrBadSignature},
		"another key, its signature": {bytes.Replace(good, []byte(ssh.KeyAlgoED25519), []byte("ssh-ed25518"), 1), forgekey.ErrUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := forgekey.Verify(keys, []byte(payload), forgekeytest.ArmorSSH(c.blob))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestOnlyOneFormOfArmorCounts(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{forgekey.PGP, forgekey.SSH} {
		forge := must(forgekeytest.New(kind))(t)
		keys := []forgekey.Key{forge.Key(kind)}
		good := string(must(forge.Sign([]byte(payload)))(t))
		begin, rest, _ := strings.Cut(good, "\n")
		content := strings.TrimSpace(rest[:strings.Index(rest, "-----END")])
		lines := strings.Split(content, "\n")
		inner := func(edited string) string { return strings.Replace(good, content, edited, 1) }
		for name, bad := range map[string]string{
			"an empty line at its end":      inner(content + "\n"),
			"an empty line before the last": inner(strings.Join(lines[:len(lines)-1], "\n") + "\n\n" + lines[len(lines)-1]),
			"carriage returns in it":        inner(strings.ReplaceAll(content, "\n", "\r\n")),
			"a carriage return at its end":  inner(content + "\r"),
			"a short first line":            inner(content[:4] + "\n" + content[4:]),
			"one line for two":              inner(strings.Replace(content, "\n", "", 1)),
			"text before it":                "x\n" + good,
			"an empty line before it":       "\n" + good,
			"text behind it":                good + "x\n",
			"two empty lines":               good + "\n\n",
			"two blocks":                    good + good,
			"no line end":                   strings.TrimSuffix(good, "\n"),
			"carriage returns":              strings.ReplaceAll(good, "\n", "\r\n"),
			"a header":                      begin + "\nVersion: 1\n" + rest,
			"a header and a line":           begin + "\nVersion: 1\n\n" + strings.TrimPrefix(rest, "\n"),
			"no end":                        strings.Split(good, "-----END")[0],
			"another end":                   strings.Replace(good, "END ", "END OF ", 1),
			"a blank in a line":             strings.Replace(good, "A", "A ", 1),
			"a long line":                   strings.Replace(good, rest, strings.Repeat("A", 1000)+"\n"+rest, 1),
			"too large":                     begin + "\n" + strings.Repeat("AAAA\n", 20_000) + rest,
			"one byte a line":               begin + "\n\n" + strings.Join(strings.Split(rest, ""), "\n"),
			"nothing but lines":             begin + strings.Repeat("\n", 100),
			"only the first line":           begin,
			"":                              "",
		} {
			if _, err := forgekey.Verify(keys, []byte(payload), []byte(bad)); !errors.Is(err, forgekey.ErrMalformed) {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
		// One has an empty line before its content, the other has none.
		other := strings.Replace(good, begin+"\n", begin+"\n\n", 1)
		if kind == forgekey.PGP {
			other = strings.Replace(good, begin+"\n\n", begin+"\n", 1)
		}
		if _, err := forgekey.Verify(keys, []byte(payload), []byte(other)); !errors.Is(err, forgekey.ErrMalformed) {
			t.Errorf("%s in the other's armor: %v", kind, err)
		}
		if _, err := forgekey.Verify(keys, []byte(payload), []byte(good+"\n")); (err == nil) != (kind == forgekey.PGP) {
			t.Errorf("%s with one empty line behind it: %v", kind, err)
		}
	}
}

func TestTheChecksumOfPGPArmorMayBeMissingButNotWrong(t *testing.T) {
	t.Parallel()
	forge := must(forgekeytest.New(forgekey.PGP))(t)
	keys := []forgekey.Key{forge.Key("forge")}
	good := must(forge.Sign([]byte(payload)))(t)
	if !bytes.Contains(good, []byte("\n=")) {
		t.Fatal("the signature has no checksum, as it should for this test")
	}
	without := forgekeytest.ArmorPGP("PGP SIGNATURE", packetOf(t, good))
	if _, err := forgekey.Verify(keys, []byte(payload), without); err != nil {
		t.Errorf("without: %v", err)
	}
	sum := bytes.Index(good, []byte("\n=")) + 2
	for name, text := range map[string][]byte{
		"wrong": slices.Concat(good[:sum], []byte("AAAA"), good[sum+4:]), "short": slices.Concat(good[:sum], good[sum+1:]),
		"empty": slices.Concat(good[:sum], good[sum+4:]), "twice": slices.Concat(good[:sum+5], good[sum-1:]),
	} {
		if _, err := forgekey.Verify(keys, []byte(payload), text); !errors.Is(err, forgekey.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnRSANumberIsShortOrAsLongAsItsKey(t *testing.T) {
	t.Parallel()
	forge := must(forgekeytest.NewPGP(packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}))(t)
	keys := []forgekey.Key{forge.Key("forge")}
	// Signatures are of one size; content is tried until the number is shorter by
	// a whole octet, which about one of 256 is.
	var content, body, number []byte
	for i := range 1 << 16 {
		content = fmt.Appendf(nil, "%s%d", payload, i)
		whole := forgery(t, forge.Entity().PrivateKey, packet.Signature{Hash: crypto.SHA256}, string(content))
		size := int(whole[1]-192)<<8 + int(whole[2]) + 192
		if body = whole[3:]; len(body) != size {
			t.Fatalf("not a signature packet of two octets' length: % x", whole[:3])
		}
		end := 6 + int(body[4])<<8 + int(body[5]) + 2 + 2
		if number = body[end+2:]; len(number) == 255 && int(body[end])<<8+int(body[end+1]) < 2040 {
			body = body[:end]
			break
		}
	}
	if len(number) != 255 {
		t.Fatal("no signature was short")
	}
	shortest := bits.Len8(number[0]) + 8*254
	for name, c := range map[string]struct {
		count  int
		number []byte
		want   error
	}{
		"shortest":                   {shortest, number, nil},
		"as long as its key":         {2048, append([]byte{0}, number...), nil},
		"of whole octets":            {2040, number, forgekey.ErrMalformed},
		"longer than its key":        {2056, append([]byte{0, 0}, number...), forgekey.ErrMalformed},
		"one bit more than it has":   {shortest + 1, number, forgekey.ErrMalformed},
		"one bit less":               {shortest - 1, number, forgekey.ErrMalformed},
		"empty":                      {0, nil, forgekey.ErrMalformed},
		"as long as its key, of one": {2048, append(make([]byte, 255), 1), forgekey.ErrBadSignature},
	} {
		packetBody := slices.Concat(body, []byte{byte(c.count >> 8), byte(c.count)}, c.number)
		size := len(packetBody) - 192
		whole := slices.Concat([]byte{0xc2, byte(size>>8) + 192, byte(size)}, packetBody)
		if _, err := forgekey.Verify(keys, content, forgekeytest.ArmorPGP("PGP SIGNATURE", whole)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// What is inside an SSH signature has one form each too: the key, the numbers of
// ECDSA, and nothing behind them.
func TestOnlyOneFormOfWhatAnSSHSignatureHoldsCounts(t *testing.T) {
	t.Parallel()
	all := must(forgekeytest.SSHKeys())(t)
	// take cuts the first string off.
	take := func(blob []byte) (value, rest []byte) {
		size := binary.BigEndian.Uint32(blob)
		return blob[4 : 4+size], blob[4+size:]
	}
	padded := func(mpint []byte) string { return "\x00" + string(mpint) }
	for name, c := range map[string]struct {
		key, algorithm string
		// edit changes the key or the innermost signature.
		edit func(key, signature []byte) (newKey, newSignature []byte)
		want error
	}{
		"untouched": {"P-256", ssh.KeyAlgoECDSA256, func(key, signature []byte) ([]byte, []byte) { return key, signature }, nil},
		"an ECDSA number with a zero before it": {"P-256", ssh.KeyAlgoECDSA256, func(key, signature []byte) ([]byte, []byte) {
			format, rest := take(signature)
			numbers, _ := take(rest)
			r, rest := take(numbers)
			s, _ := take(rest)
			return key, forgekeytest.Strings("", string(format), string(forgekeytest.Strings("", padded(r), string(s))))
		}, forgekey.ErrMalformed},
		"a byte behind the numbers": {"P-256", ssh.KeyAlgoECDSA256, func(key, signature []byte) ([]byte, []byte) {
			format, rest := take(signature)
			numbers, _ := take(rest)
			return key, forgekeytest.Strings("", string(format), string(numbers)+"\x00")
		}, forgekey.ErrMalformed},
		"a byte behind the signature": {"Ed25519", ssh.KeyAlgoED25519, func(key, signature []byte) ([]byte, []byte) {
			return key, append(bytes.Clone(signature), 1)
		}, forgekey.ErrMalformed},
		"an RSA signature with a zero before it": {"RSA", ssh.KeyAlgoRSASHA512, func(key, signature []byte) ([]byte, []byte) {
			format, rest := take(signature)
			number, _ := take(rest)
			return key, forgekeytest.Strings("", string(format), padded(number))
		}, forgekey.ErrMalformed},
		"another format": {"Ed25519", ssh.KeyAlgoED25519, func(key, signature []byte) ([]byte, []byte) {
			_, rest := take(signature)
			value, _ := take(rest)
			return key, forgekeytest.Strings("", ssh.KeyAlgoSKED25519, string(value))
		}, forgekey.ErrAlgorithm},
		"a listed key in another form": {"RSA", ssh.KeyAlgoRSASHA512, func(key, signature []byte) ([]byte, []byte) {
			format, rest := take(key)
			e, rest := take(rest)
			n, _ := take(rest)
			return forgekeytest.Strings("", string(format), padded(e), string(n)), signature
		}, forgekey.ErrMalformed},
		"a listed key of a kind that is not accepted": {"Ed25519", ssh.KeyAlgoED25519, func(key, signature []byte) ([]byte, []byte) {
			_, rest := take(key)
			value, _ := take(rest)
			return forgekeytest.Strings("", ssh.KeyAlgoSKED25519, string(value), "ssh:"), signature
		}, forgekey.ErrAlgorithm},
		"a listed key that is none": {"Ed25519", ssh.KeyAlgoED25519, func(_, signature []byte) ([]byte, []byte) {
			return []byte("key"), signature
		}, forgekey.ErrMalformed},
	} {
		forge := must(forgekeytest.NewSSH(all[c.key]))(t)
		fields := forgekeytest.SSHFields{Namespace: "git", Hash: "sha512", Algorithm: c.algorithm}
		whole := must(forge.BlobSSH(fields, []byte(payload)))(t)
		key, rest := take(whole[10:])
		head := rest
		for range 3 {
			_, rest = take(rest)
		}
		head = head[:len(head)-len(rest)]
		signature, _ := take(rest)
		key, signature = c.edit(key, signature)
		blob := slices.Concat(forgekeytest.Strings("SSHSIG\x00\x00\x00\x01", string(key)), head, forgekeytest.Strings("", string(signature)))
		sum := sha256.Sum256(key)
		listed := forgekey.Key{Name: name, Type: forgekey.SSH, Fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])}
		if _, err := forgekey.Verify([]forgekey.Key{listed}, []byte(payload), forgekeytest.ArmorSSH(blob)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
