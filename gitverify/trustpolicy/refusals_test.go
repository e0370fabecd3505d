package trustpolicy_test

import (
	"fmt"
	"strings"
)

func formRefusals() map[string]refusal {
	const meta, version = "{name: factory}", "  version: 7\n"
	long := func(n int) string { return strings.Repeat("# padding of the file\n", n) }
	return map[string]refusal{
		"C16: a YAML syntax error":                               {version, "  version: 7: 8\n", "  version: 8\n", "not YAML"},
		"C16: a key twice":                                       {version, "  version: 7\n  version: 8\n", version, `line 6: the key "version" is there twice`},
		"C16: a key twice in an entry":                           {"person: alice", "person: alice\n    person: bob", "person: alice", "there twice"},
		"C16: an unknown field":                                  {version, "  version: 7\n  approvers: 2\n", version, `line 6: spec has no field "approvers"`},
		"C16: a field in another case":                           {version, "  Version: 7\n", version, "no field"},
		"C16: an unknown identity field":                         {"person: bob", "person: bob\n    validTo: never", "person: bob", "no field"},
		"C16: an unknown rule field":                             {"role: maintainer, threshold: 1", "role: maintainer, treshold: 1", "role: maintainer, threshold: 1", "no field"},
		"C16: an unknown forge key field":                        {"type: ssh", "type: ssh\n      trusted: yes", "type: ssh", "no field"},
		"C16: an unknown revocation field":                       {"reason: laptop stolen", "reson: laptop stolen", "reason: laptop stolen", "no field"},
		"C16: a huge file":                                       {version, version + long(12000), version + long(8000), "larger than"},
		"C16: a second document":                                 {"kind: TrustPolicy\n", "kind: TrustPolicy\n---\nkind: TrustPolicy\n", "kind: TrustPolicy\n", "more than one YAML document"},
		"C16: an anchor":                                         {meta, "&x {name: factory}", meta, "anchors and aliases"},
		"C16: an alias":                                          {meta, "{name: &x factory, name2: *x}", meta, "anchors and aliases"},
		"C16: a merge key":                                       {meta, "{<<: {name: factory}}", meta, "not plain text"},
		"C16: a list as a key":                                   {meta, "{? [name] : factory}", meta, "not plain text"},
		"C16: a tag":                                             {version, "  version: !!int 7\n", version, "tags are not allowed"},
		"C16: deep nesting":                                      {meta, strings.Repeat("[", 20) + strings.Repeat("]", 20), meta, "nested too deeply"},
		"C16: a key without a value":                             {"person: bob", "person:", "person: bob", "without a value"},
		"C16: null as a value":                                   {"person: bob", "person: null", "person: 'null'", "without a value"},
		"C16: a line separator that ends a comment unseen":       {"  rules:\n", hidden("\u2028"), hidden(" "), "line 26: the invisible character"},
		"C16: a paragraph separator that ends a comment unseen":  {"  rules:\n", hidden("\u2029"), hidden(" "), "line 26: the invisible character"},
		"C16: a next line that ends a comment unseen":            {"  rules:\n", hidden("\u0085"), hidden(" "), "line 26: the invisible character"},
		"C16: a lone carriage return that ends a comment unseen": {"  rules:\n", hidden("\r"), hidden(" "), "line 26: the invisible character"},
		"C16: a comment that turns its text":                     {"  rules:\n", "  # \u202ereviewed\n  rules:\n", "  # reviewed\r\n  rules:\n", "invisible character U+202E"},
		"C16: a byte order mark":                                 {"apiVersion", "\ufeffapiVersion", "apiVersion", "invisible character U+FEFF"},
		"C16: bytes that are not UTF-8":                          {meta, "{name: \xff}", meta, "not UTF-8"},
		"C16: another kind":                                      {"TrustPolicy", "Policy", "TrustPolicy", "kind must be"},
		"C16: another version of the format":                     {"v1alpha1", "v1", "v1alpha1", "apiVersion must be"},
		"C16: no kind":                                           {"kind: TrustPolicy\n", "", "kind: TrustPolicy\n", "not a TrustPolicy"},
		"C16: a list where a map belongs":                        {meta, "[factory]", meta, "must be a map"},
		"C16: a map where a list belongs":                        {"[overlays/production]", "{overlays/production: 1}", "[overlays/production]", "must be a list"},
		"text that YAML reads as a number":                       {"person: bob", "person: 1_0", "person: '1_0'", "put it in quotes"},
		"text that YAML reads as false":                          {"name: factory", "name: false", "name: 'false'", "put it in quotes"},
		"a map where text belongs":                               {"person: bob", "person: {bob: bob}", "person: bob", "must be text"},
		"a field of a kilobyte":                                  {version, "  version: 7\n  " + strings.Repeat("x", 1000) + ": 1\n", version, strings.Repeat("x", 80) + `"…`},
		"T8: no version":                                         {version, "", version, "spec.version is missing"},
		"C42: version without a successor":                       {version, "  version: 9223372036854775807\n", version, "no later policy could exceed it"},
		"T8: version zero":                                       {version, "  version: 0\n", version, "1 or more"},
		"T8: a negative version":                                 {version, "  version: -1\n", version, "1 or more"},
		"T8: a version in octal":                                 {version, "  version: 010\n", "  version: 10\n", "1 or more"},
		"T8: a version too large":                                {version, "  version: 99999999999999999999\n", "  version: 9007199254740991\n", "1 or more"},
		"T7: no repository":                                      {"  repository: millwright.dev/factory\n", "", "  repository: f\n", "spec.repository is missing"},
		"T7: a repository of two words":                          {"millwright.dev/factory", "millwright factory", "millwright-factory", "no space"},
	}
}

// hidden is an identity in what viewers show as a comment of one line.
func hidden(lineBreak string) string {
	return "  # thanks for the review!" + lineBreak + `  - {name: mallory, issuer: "https://evil.example", subject: m@evil.example}` + "\n  rules:\n"
}

func identityRefusals() map[string]refusal {
	const (
		subject = "subject: bob@factory.example"
		issuer  = "issuer: https://spire.example"
		pattern = `'^spiffe://factory\.example/ns/ci/sa/[a-z]+$'`
		emails  = "emails: [bob@users.example, bob@factory.example]"
		roles   = "roles: [heartbeat, release]"
		window  = "notAfter: 2027-01-01T00:00:00Z"
	)
	spiffe := func(expression string) string { return "'" + expression + "'" }
	return map[string]refusal{
		"B03: a pattern without ^":                 {pattern, spiffe(`spiffe://factory\.example/.*$`), spiffe(`^spiffe://factory\.example/.*$`), "not anchored"},
		"B03: a pattern without $":                 {pattern, spiffe(`^alice@corp\.example`), spiffe(`^alice@corp\.example$`), "not anchored"},
		"B03: a pattern anchored in one branch":    {pattern, spiffe(`^a@corp\.example$|b@corp\.example`), spiffe(`^(a@corp\.example|b@corp\.example)$`), "not anchored"},
		"B03: branches with an anchor each":        {pattern, spiffe(`^a@corp\.example|b@corp\.example$`), spiffe(`^(?:a@corp\.example|b@corp\.example)$`), "not anchored"},
		"B03: an escaped $":                        {pattern, spiffe(`^a@corp\.example\$`), spiffe(`^a@corp\.example\$$`), "not anchored"},
		"B03: ends of lines instead of the text":   {pattern, spiffe(`(?m)^a@corp\.example$`), spiffe(`^a@corp\.example$`), "no group but"},
		"B03: an end of a line by a later flag":    {pattern, spiffe(`^a@corp\.example(?m)$`), spiffe(`^a@corp\.example$`), "no group but"},
		"B03: an anchor that may be left out":      {pattern, spiffe(`^?a@corp\.example$`), spiffe(`^a?@corp\.example$`), "not anchored"},
		"B03: anchors of another spelling":         {pattern, spiffe(`\Aa@corp\.example\z`), spiffe(`^a@corp\.example$`), "^ and $"},
		"B03: a pattern that is no expression":     {pattern, spiffe(`^a(@corp\.example$`), spiffe(`^a(@corp\.example)$`), "RE2"},
		"B03: a look-ahead, which RE2 has not":     {pattern, spiffe(`^(?=a)a@corp\.example$`), spiffe(`^(?:a)a@corp\.example$`), "RE2"},
		"B03: a back reference, which RE2 has not": {pattern, spiffe(`^(a)\1@corp\.example$`), spiffe(`^(a)a@corp\.example$`), "RE2"},
		"B03: an expression that explodes":         {pattern, spiffe(`^((a{100}){100}){100}$`), spiffe(`^((a{10}){10}){10}$`), "RE2"},
		"B03: a pattern of a kilobyte":             {pattern, spiffe("^" + strings.Repeat("x", 600) + "$"), spiffe("^" + strings.Repeat("x", 500) + "$"), "512 bytes"},
		"B04: a pattern that ignores case":         {pattern, spiffe(`^(?i)alice@corp\.example$`), spiffe(`^alice\(?i?@corp\.example$`), "no group but"},
		"B04: a branch that ignores case":          {pattern, spiffe(`^(a|(?i:b))@corp\.example$`), spiffe(`^(a|(?:b))@corp\.example$`), "no group but"},
		"B03: a star in a subject":                 {subject, `subject: "*@factory.example"`, subject, "subjectPattern"},
		"B03: an expression as subject":            {subject, `subject: "^bob@factory.example$"`, subject, "subjectPattern"},
		"B03: subject and pattern":                 {subject, subject + "\n    subjectPattern: ^b$", subject, "exactly one of subject"},
		"neither subject nor pattern":              {subject + "\n", "\n", subject + "\n", "exactly one of subject"},
		"B34: a star in an issuer":                 {issuer, `issuer: https://*.example`, "issuer: https://oidc.example", "never a pattern"},
		"B34: an expression as issuer":             {issuer, `issuer: ^https://spire\.example$`, issuer, "never a pattern"},
		"B34: no issuer":                           {"    " + issuer + "\n", "", "    " + issuer + "\n", "name and issuer"},
		"B04: a subject with a space at its end":   {subject, `subject: "bob@factory.example "`, subject, "one line of text"},
		"B04: a subject with a NUL":                {subject, `subject: "bob@factory.example\0"`, subject, "one line of text"},
		"B04: an invisible letter":                 {subject, `subject: "bob\u200b@factory.example"`, subject, "one line of text"},
		"B04: a letter that stands for none":       {subject, "subject: bob\ufffd@factory.example", subject, "one line of text"},
		"B04: a letter that turns the text":        {subject, `subject: "bob\u202e@factory.example"`, subject, "one line of text"},
		"an empty subject":                         {subject, `subject: ""`, subject, "one line of text"},
		"an issuer of a kilobyte":                  {issuer, issuer + strings.Repeat("x", 600), issuer + strings.Repeat("x", 400), "512 bytes"},
		"an identity without a name":               {"- name: bob\n    person", "- person", "- name: bert\n    person", "name and issuer"},
		"a name twice":                             {"name: bob", "name: alice", "name: bert", "the name is there twice"},
		"C17: one signer listed as two people":     {subject, "subject: alice@factory.example", subject, "issuer and subject are there twice"},
		"B07: a committer that is no address":      {emails, "emails: [bob]", "emails: [bob@b]", "not an e-mail address"},
		"B07: an address with two at signs":        {emails, "emails: [b@b@users.example]", "emails: [b.b@users.example]", "not an e-mail address"},
		"B07: an address of no person":             {emails, `emails: ["@users.example"]`, "emails: [b@users.example]", "not an e-mail address"},
		"B07: an address at no host":               {emails, `emails: ["b@"]`, "emails: [b@b]", "not an e-mail address"},
		"B07: a star in a committer's address":     {emails, `emails: ["*@users.example"]`, "emails: [b@users.example]", "not an e-mail address"},
		"B07: an empty list of addresses":          {emails, "emails: []", emails, "is empty"},
		"B07: an address twice":                    {emails, "emails: [b@x.example, b@x.example]", "emails: [b@x.example, B@x.example]", "twice"},
		"T6: a signer with the role of a key":      {roles, "roles: [forge, heartbeat]", "roles: [forger, heartbeat]", "for forge keys"},
		"a role in capitals":                       {roles, "roles: [Release]", "roles: [release]", "lower-case"},
		"a role twice":                             {roles, "roles: [release, release]", roles, "twice"},
		"a window that ends before it begins":      {window, "notAfter: 2025-01-01T00:00:00Z", window, "not after notBefore"},
		"a window of no time":                      {window, "notAfter: 2026-01-01T00:00:00Z", "notAfter: 2026-01-01T00:00:01Z", "not after notBefore"},
		"a time without a zone":                    {window, "notAfter: 2027-01-01 00:00:00", "notAfter: 2027-01-01T00:00:00+02:00", "with its zone"},
		"a day as a time":                          {window, "notAfter: 2027-01-01", window, "with its zone"},
		"a thousand and one identities":            {"  rules:\n", identities(997) + "  rules:\n", identities(996) + "  rules:\n", "more than 1000"},
	}
}

func identities(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {name: n%d, issuer: i, subject: s%d}\n", i, i)
	}
	return b.String()
}

func ruleRefusals() map[string]refusal {
	const (
		everything = `{name: everything, paths: ["**"], role: maintainer, threshold: 1}`
		production = "{name: production, affects: [overlays/production], role: security, threshold: 2}"
		picked     = `{kinds: [Deployment.apps], namespaces: ["tekton-*"], names: ["*"]}`
	)
	path := func(pattern string) string {
		return `{name: everything, paths: ["**", "` + pattern + `"], role: maintainer, threshold: 1}`
	}
	rule := func(rest string) string { return "{name: everything, " + rest + "}" }
	return map[string]refusal{
		"T5: a threshold above the number of people":   {everything, rule(`paths: ["**"], role: maintainer, threshold: 3`), rule(`paths: ["**"], role: maintainer, threshold: 2`), "with role maintainer, 2"},
		"T5: a threshold that counts a revoked person": {everything, rule(`paths: ["**"], role: security, threshold: 3`), rule(`paths: ["**"], role: security, threshold: 2`), "who are not revoked, 2"},
		"T5: a threshold of zero":                      {everything, rule(`paths: ["**"], role: maintainer, threshold: 0`), everything, "1 or more"},
		"T5: a negative threshold":                     {everything, rule(`paths: ["**"], role: maintainer, threshold: -1`), everything, "1 or more"},
		"T5: an immense threshold":                     {everything, rule(`paths: ["**"], role: maintainer, threshold: 4294967297`), everything, "above the number of persons"},
		"T5: no threshold":                             {everything, rule(`paths: ["**"], role: maintainer`), everything, "threshold must be given"},
		"T5: a role that nobody has":                   {everything, rule(`paths: ["**"], role: maintianer, threshold: 1`), everything, "no person has role"},
		"T5: a role that only machines have":           {"roles: [heartbeat, release]\n  rules:\n  - " + everything, "roles: [heartbeat, ci]\n  rules:\n  - " + rule(`paths: ["**"], role: ci, threshold: 1`), "roles: [heartbeat, ci]\n  rules:\n  - " + everything, "no person has role ci"},
		"C17: a person with two identities, twice":     {"person: bob", "person: alice", "person: bert", "above the number of persons"},
		"a rule for a role in capitals":                {everything, rule(`paths: ["**"], role: Maintainer, threshold: 1`), everything, "lower-case"},
		"T5: a rule for the role of heartbeats":        {everything, rule(`paths: ["**"], role: heartbeat, threshold: 1`), everything, "reserved"},
		"T5: a rule for the role of releases":          {everything, rule(`paths: ["**"], role: release, threshold: 1`), everything, "reserved"},
		"T6: a rule for the role of forge keys":        {everything, rule(`paths: ["**"], role: forge, threshold: 1`), everything, "reserved"},
		"a rule without a role":                        {everything, rule(`paths: ["**"], threshold: 1`), everything, "role must be given"},
		"a rule without a name":                        {everything, `{paths: ["**"], role: maintainer, threshold: 1}`, everything, "without a name"},
		"a rule name twice":                            {everything, strings.Replace(everything, "everything", "trust", 1), strings.Replace(everything, "everything", "all", 1), "the name is there twice"},
		"a rule about nothing":                         {everything, rule("role: maintainer, threshold: 1"), everything, "exactly one of paths"},
		"a rule about two things":                      {everything, rule(`paths: ["**"], affects: [overlays/local], role: maintainer, threshold: 1`), everything, "exactly one of paths"},
		"no rules":                                     {"  rules:\n", "  rules: []\n  identities2:\n", "  rules:\n", "spec.rules is empty"},
		"an empty list of paths":                       {everything, rule("paths: [], role: maintainer, threshold: 1"), everything, "is empty"},
		"an empty pattern":                             {everything, path(""), path("a"), "one line of text"},
		"a path from the root of a disk":               {everything, path("/etc"), path("etc"), "begin with a slash"},
		"a path that ends with a slash":                {everything, path("bases/"), path("bases/**"), "empty segment"},
		"a path with an empty segment":                 {everything, path("bases//spire"), path("bases/spire"), "empty segment"},
		"a path that climbs":                           {everything, path("bases/../overlays"), path("bases/..a/overlays"), "segment .."},
		"a path with a dot segment":                    {everything, path("./bases"), path(".bases"), "segment ."},
		"a backslash in a path":                        {everything, path(`bases\\spire`), path("bases/spire"), "backslash"},
		"two stars inside a segment":                   {everything, path("bases/**.yaml"), path("bases/**/*.yaml"), "whole segment"},
		"a path twice":                                 {everything, path("**"), path("*"), "twice"},
		"five hundred and one rules":                   {"  history:\n", rules(497) + "  history:\n", rules(496) + "  history:\n", "more than 500"},
		"a hundred and one patterns":                   {everything, rule("paths: [" + paths(101) + "], role: maintainer, threshold: 1"), rule("paths: [" + paths(100) + "], role: maintainer, threshold: 1"), "more than 100"},
		"T12: an overlay with a star":                  {production, strings.Replace(production, "overlays/production", `"overlays/*"`, 1), strings.Replace(production, "overlays/production", "overlays/staging", 1), "must have no *"},
		"T12: an overlay that climbs":                  {production, strings.Replace(production, "overlays/production", "../production", 1), production, "segment .."},
		"T12: an unknown set of objects":               {"set: guards", "set: gaurds", "set: rbac", "set must be guards or"},
		"T12: objects that are all objects":            {picked, "{}", `{kinds: ["*"]}`, "selects nothing"},
		"T12: a set that looks restricted":             {picked, "{set: rbac, names: [admin]}", "{set: rbac}", "make it two entries"},
	}
}

func rules(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {name: r%d, paths: [a], role: maintainer, threshold: 1}\n", i)
	}
	return b.String()
}

func paths(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d, ", i)
	}
	return b.String()
}

func otherRefusals() map[string]refusal {
	const (
		anchor    = `anchor: "0123456789012345678901234567890123456789"`
		pgp       = "fingerprint: 000000000000000000000000000000000000000A"
		ssh       = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f forge"
		carol     = "{identity: carol, from: 2026-10-01T00:00:00Z, reason: laptop stolen}"
		commit    = "  - {commit: "
		ofNothing = `"sha256:abababababababababababababababababababababababababababababababab"`
	)
	return map[string]refusal{
		"T1: a short anchor":                    {anchor, "anchor: '0123456'", "anchor: '" + strings.Repeat("a", 64) + "'", "full commit id"},
		"T1: an anchor in capitals":             {anchor, "anchor: " + strings.Repeat("A", 40), "anchor: " + strings.Repeat("a", 40), "full commit id"},
		"T1: an anchor by name":                 {anchor, "anchor: main", anchor, "full commit id"},
		"B07: another word for the committer":   {"committer: match", "committer: none", "committer: any", "match or any"},
		"B14: a skew of no time":                {"720h", "0h", "1h", "duration"},
		"B14: a skew without a unit":            {"720h", "720", "720m", "duration"},
		"T11: a negative age":                   {"168h", "-168h", "168h", "duration"},
		"T11: an age of seconds":                {"168h", "59s", "60s", "duration"},
		"T11: an age of days, which Go has not": {"168h", "7d", "168h0m", "duration"},
		"T11: an age of more than ten years":    {"168h", "87601h", "87600h", "duration"},
		"T6: an unknown type of key":            {"type: pgp", "type: gpg", "type: pgp", "pgp or ssh"},
		"T6: a short fingerprint":               {pgp, "fingerprint: '0000000A'", pgp, "hex digits"},
		"T6: a fingerprint of version 6":        {pgp, "fingerprint: " + strings.Repeat("A", 64), "fingerprint: " + strings.Repeat("A", 40), "40 hex digits"},
		"T6: a fingerprint with spaces":         {pgp, "fingerprint: 0000 0000", pgp, "hex digits"},
		"T6: an SSH fingerprint of a PGP key":   {pgp, "fingerprint: SHA256:" + strings.Repeat("a", 43), pgp, "not one of type pgp"},
		"T6: a PGP fingerprint of an SSH key":   {"type: ssh", "type: pgp", "type: ssh", "not one of type pgp"},
		"T6: a fingerprint of another key":      {ssh, strings.Replace(ssh, "AgME", "AgMF", 1), ssh + "-2", "fingerprint is SHA256:"},
		"T6: a key that is not base64":          {ssh, "ssh-ed25519 ?", ssh, "ssh-ed25519 AAAA"},
		"T6: a key without its type":            {ssh, "AAAA", ssh, "ssh-ed25519 AAAA"},
		"T6: a key that is not armored":         {"-----BEGIN PGP PUBLIC", "-----BEGIN PGP PRIVATE", "-----BEGIN PGP PUBLIC", "not an armored"},
		"T6: a key name twice":                  {"name: forge-ssh", "name: forge-web", "name: forge-ssh", "there twice"},
		"T6: a key twice, in another spelling":  {"    - name: forge-ssh\n", pgpKey("000000000000000000000000000000000000000a"), pgpKey("000000000000000000000000000000000000000b"), "there twice"},
		"T6: a key of 65 KiB":                   {"mDME", strings.Repeat("mDME", 17000), strings.Repeat("mDME", 16000), "at most 65536 bytes"},
		"T6: a key that is empty":               {"publicKey: ssh-ed25519", "publicKey: '' # ssh-ed25519", "publicKey: ssh-ed25519", "must be text of at most"},
		"T6: a key with letters of its own":     {"mDME", "mDéME", "mD ME", "printable ASCII"},
		"T6: a key without a name":              {"name: forge-ssh\n      type", "type", "name: forge-ssh\n      type", "must be given"},
		"T9: a revocation of nobody":            {carol, strings.Replace(carol, "carol", "dave", 1), carol, "no such identity"},
		"T9: a revocation without a time":       {carol, "{identity: carol}", "{identity: carol, from: 2026-10-01T00:00:00Z}", "from must be given"},
		"T9: a revocation of nothing":           {carol, "{reason: laptop stolen}", carol, "exactly one of identity, commit and forgeKey"},
		"T9: a revocation of two things":        {carol, "{identity: carol, commit: " + ofNothing + ", from: 2026-10-01T00:00:00Z}", carol, "exactly one of identity, commit and forgeKey"},
		"T9: a commit revoked from a time":      {commit, commit[:5] + "from: 2026-10-01T00:00:00Z, commit: ", commit, "revoked for good"},
		"T6: a revocation of no forge key":      {"{forgeKey: forge-ssh", "{forgeKey: forge-s", "{forgeKey: forge-ssh", "no such identity or forge key"},
		"T6: a forge key revoked from a time":   {"{forgeKey: forge-ssh", "{from: 2026-10-01T00:00:00Z, forgeKey: forge-ssh", "{forgeKey: forge-ssh", "revoked for good"},
		"T9: a commit by its id":                {ofNothing, strings.Repeat("a", 40), ofNothing, "64 lower-case hex digits"},
		"T9: an identity revoked twice":         {carol, carol + "\n  - " + carol, carol, "there twice"},
		"T9: a thousand and one revocations":    {commit, revocations(998) + commit, revocations(997) + commit, "more than 1000"},
		"T13: another kind of log":              {"log: offline", "log: none", "log: online", "offline or online"},
		"T13: another word for the timestamp":   {"timestampAuthority: required", "timestampAuthority: never", "timestampAuthority: optional", "optional or required"},
	}
}

// pgpKey is another key, before the one by SSH.
func pgpKey(fingerprint string) string {
	return "    - {name: forge-two, type: pgp, fingerprint: " + fingerprint + ", publicKey: \"-----BEGIN PGP PUBLIC KEY BLOCK-----\\n\"}\n    - name: forge-ssh\n"
}

func revocations(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {commit: \"sha256:%064x\"}\n", i)
	}
	return b.String()
}
