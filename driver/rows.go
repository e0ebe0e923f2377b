package driver

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/spool"
)

// The rows that several drivers share. Protocol packages put them into their
// tables and call the function of the same name with the values.

// CommonRows are the rows of every driver: the profile's address and the
// spool.
func CommonRows() []Param {
	return []Param{
		{Name: "From Address", Type: ParamText, Text: "The profile's own address, e.g. Support <support@example.com>: sender of outbound mail, ReceiverName and ReceiverAddress of inbound mail."},
		{Name: "Profile", Session: "SESSION", Type: ParamText, Ours: true, Text: "The name of the profile in events and logs."},
		{Name: "Spool Directory", Type: ParamPath, Ours: true, Text: "The directory under which the directories below are made, each only for its owner."},
		{Name: "Incoming Email Directory", Type: ParamPath, Default: "incoming in the spool directory", Text: "Downloads, attachment files and original text files."},
		{Name: "Processed Email Directory", Type: ParamPath, Default: "processed in the spool directory", Text: "Raw mails that were handed over."},
		{Name: "Failed Email Directory", Type: ParamPath, Default: "failed in the spool directory", Text: "Raw mails that cannot be processed, with a reason file each."},
		{Name: "Loopback Email Directory", Type: ParamPath, Default: "loopback in the spool directory", Text: "Raw mails of blocked senders."},
		{Name: "Sent Email Directory", Type: ParamPath, Default: "sent in the spool directory", Text: "Outbound mails while they are sent, and the saved ones."},
		{Name: "EventQueueDirectory", Type: ParamPath, Default: "queued in the spool directory", Text: "The event queue."},
	}
}

var spoolDirRows = map[spool.Kind]string{
	spool.Incoming: "Incoming Email Directory", spool.Processed: "Processed Email Directory",
	spool.Failed: "Failed Email Directory", spool.Loopback: "Loopback Email Directory",
	spool.Sent: "Sent Email Directory", spool.Queued: "EventQueueDirectory",
}

// CommonOptions turns CommonRows into options.
func CommonOptions(v Values) ([]Option, error) {
	var opts []Option
	if v.Has("From Address") {
		opts = append(opts, WithFrom(v.Text("From Address")).ForParameter("From Address"))
	}
	if v.Has("Profile") {
		opts = append(opts, WithProfile(v.Text("Profile")))
	}
	var dirs []spool.Option
	var first string
	for kind := spool.Incoming; kind <= spool.Queued; kind++ {
		if name := spoolDirRows[kind]; v.Has(name) {
			dirs = append(dirs, spool.WithDir(kind, v.Text(name)))
			first = name
		}
	}
	root := v.Text("Spool Directory")
	if root == "" {
		if first != "" {
			return opts, &ParamError{"Spool Directory", fmt.Errorf("%w when %q is given", ErrParameterRequired, first)}
		}
		return opts, nil
	}
	s, err := spool.New(root, dirs...)
	if err != nil {
		return opts, &ParamError{"Spool Directory", err}
	}
	return append(opts, WithSpool(s)), nil
}

// InboundRows are the rows of every driver that polls. protocol is the word
// in names such as "POP3 Batch Size".
func InboundRows(protocol string) []Param {
	return []Param{
		{Name: protocol + " Batch Size", Type: ParamInt, Default: strconv.Itoa(DefaultBatchSize), Ours: true, Min: 1, Max: 1_000_000, Text: "Mails handed over in one session at most."},
		{Name: "PollingInterval", Type: ParamDuration, Default: "60", Ours: true, Min: 1, Max: 366 * 86400, Text: "Time from the end of one session to the next."},
		{Name: "Delete Processed Messages", Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE deletes the raw file after processing, FALSE moves it to the processed directory."},
		{Name: "Loopback Detection Interval", Type: ParamDuration, Default: "0", Ours: true, Text: "How long a sender is blocked after a mail of his was handed over; 0 turns loopback detection off."},
		{Name: "Process If Loopback Detected", Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE hands mail of a blocked sender over with LoopbackCandidate, FALSE moves it to the loopback directory."},
		{Name: "Parse Embedded Messages", Type: ParamBool, Default: "TRUE", Text: "TRUE turns embedded messages into EmbeddedMsgX.xml, FALSE into EmbeddedMsgX.eml."},
		{Name: "Return Attachments", Type: ParamBool, Default: "TRUE", Ours: true, Text: "FALSE makes no attachment files; the original text file is made in any case."},
		{Name: "Convert Incoming To Plain Text", Type: ParamBool, Default: "FALSE", Text: "TRUE turns HTML bodies into plain text."},
		{Name: "Subject Prefixes", Type: ParamText, Default: "none", Ours: true, Text: "Prefixes of subjects besides Re, Fwd and Fw, and what they mean, e.g. AW=Re, WG=Fwd; LOCAL takes those that are common in other languages."},
		{Name: "Leave On Server", Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE leaves handled mails on the server and remembers them."},
		{Name: "Max Message Size", Type: ParamInt, Default: strconv.Itoa(DefaultMaxMessageBytes), Ours: true, Min: 1, Max: 1 << 50, Text: "Bytes of the largest mail that is taken."},
	}
}

// InboundOptions turns InboundRows into options.
func InboundOptions(v Values, protocol string) []Option {
	var opts []Option
	if v.Has(protocol + " Batch Size") {
		opts = append(opts, WithBatchSize(int(v.Int(protocol+" Batch Size", 0))))
	}
	if v.Has("PollingInterval") {
		opts = append(opts, WithPollingInterval(v.Duration("PollingInterval", 0)))
	}
	if v.Has("Max Message Size") {
		opts = append(opts, WithMaxMessageBytes(v.Int("Max Message Size", 0)))
	}
	if v.Has("Subject Prefixes") {
		opts = append(opts, WithSubjectPrefixes(readPrefixes(v.Text("Subject Prefixes"))).ForParameter("Subject Prefixes"))
	}
	return append(opts,
		WithDeleteProcessed(v.Bool("Delete Processed Messages", false)),
		WithLoopbackDetection(v.Duration("Loopback Detection Interval", 0), v.Bool("Process If Loopback Detected", false)),
		WithParseEmbedded(v.Bool("Parse Embedded Messages", true)),
		WithReturnAttachments(v.Bool("Return Attachments", true)),
		WithConvertToPlainText(v.Bool("Convert Incoming To Plain Text", false)),
		WithLeaveOnServer(v.Bool("Leave On Server", false)),
	)
}

// readPrefixes reads "AW=Re, WG=Fwd"; what is wrong with it is found by the
// option.
func readPrefixes(text string) mime.SubjectPrefixes {
	p := mime.SubjectPrefixes{}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ';' }) {
		word, means, ok := strings.Cut(strings.TrimSpace(word), "=")
		if !ok && strings.EqualFold(word, "LOCAL") {
			maps.Copy(p, mime.LocalSubjectPrefixes())
			continue
		}
		p[strings.TrimSpace(word)] = strings.TrimSpace(means)
	}
	return p
}

// NetworkRows are the rows of every driver that connects to a server, for the
// protocol's word in the names, its port without and with implicit TLS.
func NetworkRows(protocol string, port, tlsPort int) []Param {
	return []Param{
		{Name: protocol + " Server", Session: "SERVER", Type: ParamText, Required: true, Text: "Host name or address of the server."},
		{Name: protocol + " Server Port", Aliases: []string{protocol + " Port"}, Session: "PORT", Type: ParamInt, Default: fmt.Sprintf("%d, or %d with implicit TLS", port, tlsPort), Min: 1, Max: 65535, Text: "Port of the server."},
		{Name: protocol + " Account Name", Session: "USERNAME", Type: ParamText, Text: "The user to log in as."},
		{Name: protocol + " Account Password", Session: "PASSWORD", Type: ParamSecret, Text: "The user's password. Only GSSapi, OAuth20 and EXTERNAL do without."},
		{Name: protocol + " Authentication", Session: "AUTHTYPE", Type: ParamText, Default: "Auto", Ours: true, Text: authRowText(protocol)},
		{Name: protocol + " Domain Name", Session: "DOMAINNAME", Type: ParamText, Text: "The domain of the user for NTLM, or the realm for DIGEST-MD5."},
		{Name: protocol + " Service Principal Name", Type: ParamText, Ours: true, Default: "the protocol's service at the server", Text: "What NTLM and Kerberos name the server, as service/host."},
		{Name: protocol + " Access Token", Type: ParamSecret, Ours: true, Text: "The OAuth2 token to log in with; with file: it is read anew when the server refuses the last one. Programs give a source of tokens instead."},
		{Name: protocol + " Timeout", Session: "TIMEOUT", Type: ParamDuration, Default: "60", Ours: true, Min: 1, Max: 86400, Text: "Time for setting up a connection, and for each answer of the server."},
		{Name: "Enable SSL for " + protocol, Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE speaks TLS from the first byte."},
		{Name: "Enable TLS for " + protocol, Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE upgrades the connection to TLS, which is then required."},
		{Name: protocol + " Security", Session: "SECURITY", Type: ParamText, Default: "NONE", Choices: []string{"NONE", "EXPLICIT", "IMPLICIT", "EXPLICI"}, Text: "NONE, EXPLICIT (as Enable TLS) or IMPLICIT (as Enable SSL)."},
		{Name: "CA certificate file name", Aliases: []string{"CACertFileName"}, Type: ParamPath, Default: "the system's", Text: "PEM file with the certificates of the authorities to trust, for the server and for a proxy."},
		{Name: "Certificate file name", Aliases: []string{"CERTIFICATE"}, Type: ParamPath, Text: "File with the client certificate: .pfx or .p12, .pem, or .cer, which needs the file of the key as well."},
		{Name: "Private key file name", Type: ParamPath, Text: "File with the key of the client certificate, PEM or DER, if the certificate's file has none."},
		{Name: "Private key file password", Aliases: []string{"CERTIFICATEPASSPHRASE"}, Type: ParamSecret, Text: "The passphrase of the file that has the key."},
		{Name: "Peer Authentication", Aliases: []string{"PeerAuth"}, Type: ParamBool, Default: "TRUE", Ours: true, Text: "Accepted for compatibility: the server's certificate is checked in any case."},
		{Name: "Validate peer certificate", Type: ParamBool, Default: "TRUE", Ours: true, Text: "Accepted for compatibility: the server's certificate is checked in any case."},
		{Name: "Ignore Invalid Certificate", Session: "IGNOREINVALIDCERTIFICATE", Type: ParamBool, Default: "NO", Text: "YES accepts any server certificate, with a warning each time, which gives TLS no protection against an attacker on the path unless the server's key is pinned. A proxy's certificate is checked all the same."},
		{Name: protocol + " Pinned Key", Type: ParamText, Ours: true, Text: "Public keys of which the server's certificate must have one, as sha256/ and base64, separated by spaces or semicolons."},
		{Name: protocol + " Certificate Name", Type: ParamText, Default: "the host of the server", Ours: true, Text: "The name that the server's certificate must have."},
		{Name: "Allow Insecure Login", Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE permits sending the password in clear without TLS."},
		{Name: "Proxy Type", Session: "PROXYTYPE", Type: ParamText, Default: "System default", Choices: []string{"System default", "System", "None", "Socks4", "Socks4a", "Socks5", "HTTP", "HTTPS"}, Text: "The proxy on the way to the server. The system default is what the environment variables ALL_PROXY and HTTPS_PROXY name, unless NO_PROXY excepts the server. All but Socks4 resolve the server's name at the proxy; HTTPS is HTTP over TLS, and ours."},
		{Name: "Proxy Server", Session: "PROXYSERVER", Type: ParamText, Text: "Host name or address of the proxy."},
		{Name: "Proxy Port", Session: "PROXYPORT", Type: ParamInt, Default: strconv.Itoa(defaultProxyPort), Min: 1, Max: 65535, Text: "Port of the proxy. The default is that of the session description; the registered port of SOCKS is 1080."},
		{Name: "Proxy Username", Session: "PROXYUSERNAME", Type: ParamText, Text: "The user to log in at the proxy as, for NTLM with the domain: EXAMPLE\\ann."},
		{Name: "Proxy Password", Session: "PROXYPASSWORD", Type: ParamSecret, Text: "That user's password."},
		{Name: "Proxy Authentication", Type: ParamText, Default: "Auto", Ours: true, Choices: []string{"Auto", "Basic", "Digest", "NTLM"}, Text: "How to log in at an HTTP proxy: Auto takes Digest, else Basic."},
		{Name: "LogDebug", Type: ParamBool, Default: "FALSE", Text: "TRUE writes what is said on each connection to a file of its own in the log directory, without what logs in and without mail."},
		{Name: "Log Directory", Type: ParamPath, Default: "log in the spool directory", Ours: true, Text: "Where the files of LogDebug go, which only their owner may read."},
	}
}

// defaultProxyPort is that of the session description (PROXYPORT).
const defaultProxyPort = 1028

// NetworkOptions turns NetworkRows into the address and options. names maps
// values of the Authentication row, compared like parameter names, to
// mechanisms.
func NetworkOptions(v Values, protocol string, names map[string]string) (addr string, opts []Option, err error) {
	var errs []error
	bad := func(name string, err error) { errs = append(errs, &ParamError{name, err}) }

	addr = v.Text(protocol + " Server")
	if v.Has(protocol + " Server Port") {
		addr = net.JoinHostPort(addr, strconv.FormatInt(v.Int(protocol+" Server Port", 0), 10))
	}
	sec, err := securityOf(v, protocol)
	if err != nil {
		errs = append(errs, err)
	}
	opts = append(opts, WithSecurity(sec))
	login, lerr := loginOptions(v, protocol, names)
	opts, errs = append(opts, login...), append(errs, lerr)
	if v.Has(protocol + " Timeout") {
		opts = append(opts, WithTimeout(v.Duration(protocol+" Timeout", time.Minute)))
	}
	if v.Bool("Ignore Invalid Certificate", false) {
		opts = append(opts, WithInsecureSkipVerify())
	}
	if v.Bool("Allow Insecure Login", false) {
		opts = append(opts, WithInsecureAuth())
	}
	if name := "CA certificate file name"; v.Has(name) {
		pool, err := LoadRootCAs(v.Text(name))
		if err != nil {
			bad(name, err)
		} else {
			opts = append(opts, WithRootCAs(pool))
		}
	}
	for _, more := range []func(Values, string) ([]Option, error){clientCertificate, identityOptions, proxyOptions, traceOptions} {
		o, err := more(v, protocol)
		opts, errs = append(opts, o...), append(errs, err)
	}
	return addr, opts, errors.Join(errs...)
}

func securityOf(v Values, protocol string) (Security, error) {
	ssl, starttls := "Enable SSL for "+protocol, "Enable TLS for "+protocol
	sec := SecurityNone
	switch {
	case v.Bool(ssl, false) && v.Bool(starttls, false):
		return sec, &ParamError{ssl, fmt.Errorf("cannot be TRUE together with %q", starttls)}
	case v.Bool(ssl, false):
		sec = SecurityImplicit
	case v.Bool(starttls, false):
		sec = SecurityExplicit
	}
	name := protocol + " Security"
	if !v.Has(name) {
		return sec, nil
	}
	want := map[string]Security{"NONE": SecurityNone, "EXPLICIT": SecurityExplicit, "EXPLICI": SecurityExplicit, "IMPLICIT": SecurityImplicit}[v.Text(name)]
	if sec != SecurityNone && sec != want {
		return sec, &ParamError{name, fmt.Errorf("%s contradicts %q or %q", v.Text(name), ssl, starttls)}
	}
	return want, nil
}
