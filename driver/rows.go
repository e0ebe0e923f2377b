package driver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

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
	return append(opts,
		WithDeleteProcessed(v.Bool("Delete Processed Messages", false)),
		WithLoopbackDetection(v.Duration("Loopback Detection Interval", 0), v.Bool("Process If Loopback Detected", false)),
		WithParseEmbedded(v.Bool("Parse Embedded Messages", true)),
		WithReturnAttachments(v.Bool("Return Attachments", true)),
		WithConvertToPlainText(v.Bool("Convert Incoming To Plain Text", false)),
		WithLeaveOnServer(v.Bool("Leave On Server", false)),
	)
}

// NetworkRows are the rows of every driver that connects to a server, for the
// protocol's word in the names, its port without and with implicit TLS.
func NetworkRows(protocol string, port, tlsPort int) []Param {
	return []Param{
		{Name: protocol + " Server", Session: "SERVER", Type: ParamText, Required: true, Text: "Host name or address of the server."},
		{Name: protocol + " Server Port", Aliases: []string{protocol + " Port"}, Session: "PORT", Type: ParamInt, Default: fmt.Sprintf("%d, or %d with implicit TLS", port, tlsPort), Min: 1, Max: 65535, Text: "Port of the server."},
		{Name: protocol + " Account Name", Session: "USERNAME", Type: ParamText, Text: "The user to log in as."},
		{Name: protocol + " Account Password", Session: "PASSWORD", Type: ParamSecret, Text: "The user's password."},
		{Name: protocol + " Authentication", Session: "AUTHTYPE", Type: ParamText, Default: "Auto", Ours: true, Text: "How to log in: Auto takes the strongest that the server offers, else the mechanism's name."},
		{Name: protocol + " Timeout", Session: "TIMEOUT", Type: ParamDuration, Default: "60", Ours: true, Min: 1, Max: 86400, Text: "Time for setting up a connection, and for each answer of the server."},
		{Name: "Enable SSL for " + protocol, Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE speaks TLS from the first byte."},
		{Name: "Enable TLS for " + protocol, Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE upgrades the connection to TLS, which is then required."},
		{Name: protocol + " Security", Session: "SECURITY", Type: ParamText, Default: "NONE", Choices: []string{"NONE", "EXPLICIT", "IMPLICIT", "EXPLICI"}, Text: "NONE, EXPLICIT (as Enable TLS) or IMPLICIT (as Enable SSL)."},
		{Name: "CA certificate file name", Aliases: []string{"CACertFileName"}, Type: ParamPath, Default: "the system's", Text: "PEM file with the certificates of the authorities to trust."},
		{Name: "Certificate file name", Aliases: []string{"CERTIFICATE"}, Type: ParamPath, Text: "PEM file with the client certificate."},
		{Name: "Private key file name", Type: ParamPath, Text: "PEM file with the key of the client certificate."},
		{Name: "Peer Authentication", Aliases: []string{"PeerAuth"}, Type: ParamBool, Default: "TRUE", Ours: true, Text: "Accepted for compatibility: the server's certificate is checked in any case."},
		{Name: "Validate peer certificate", Type: ParamBool, Default: "TRUE", Ours: true, Text: "Accepted for compatibility: the server's certificate is checked in any case."},
		{Name: "Ignore Invalid Certificate", Session: "IGNOREINVALIDCERTIFICATE", Type: ParamBool, Default: "NO", Text: "YES accepts any server certificate, which gives TLS no protection against an attacker on the path."},
		{Name: "Allow Insecure Login", Type: ParamBool, Default: "FALSE", Ours: true, Text: "TRUE permits sending the password in clear without TLS."},
	}
}

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
	user, pass := protocol+" Account Name", protocol+" Account Password"
	switch {
	case v.Has(user) && v.Has(pass):
		opts = append(opts, WithLogin(v.Text(user), v.Text(pass)).ForParameter(user))
	case v.Has(user):
		bad(pass, fmt.Errorf("%w with an account name", ErrParameterRequired))
	case v.Has(pass):
		bad(user, fmt.Errorf("%w with a password", ErrParameterRequired))
	}
	if auth := v.Text(protocol + " Authentication"); auth != "" && ParamKey(auth) != "auto" {
		mech, ok := names[ParamKey(auth)]
		if !ok {
			bad(protocol+" Authentication", fmt.Errorf("%q is not a mechanism of this driver", auth))
		}
		opts = append(opts, WithMechanisms(mech))
	}
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
		pool, err := readPool(v.Text(name))
		if err != nil {
			bad(name, err)
		} else {
			opts = append(opts, WithRootCAs(pool))
		}
	}
	opts, err = clientCertificate(v, opts)
	return addr, opts, errors.Join(append(errs, err)...)
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

func readPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path) //nolint:gosec // the host's configuration names it
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, nil
}

func clientCertificate(v Values, opts []Option) ([]Option, error) {
	cert, key := "Certificate file name", "Private key file name"
	if !v.Has(cert) && !v.Has(key) {
		return opts, nil
	}
	if !v.Has(cert) {
		return opts, &ParamError{cert, fmt.Errorf("%w with a private key", ErrParameterRequired)}
	}
	keyFile := v.Text(key)
	if keyFile == "" {
		keyFile = v.Text(cert) // one PEM file may hold both
	}
	c, err := tls.LoadX509KeyPair(v.Text(cert), keyFile)
	if err != nil {
		return opts, &ParamError{cert, err}
	}
	return append(opts, WithClientCertificate(c)), nil
}
