package smtp

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func TestParameters(t *testing.T) {
	addr, opts, err := FromParameters(map[string]string{
		"SMTP Server": "mail.example.com", "SMTP Server Port": "587", "Enable TLS for SMTP": "TRUE",
		"SMTP Account Name": "u", "SMTP Account Password": "p", "DISABLECHUNKING": "YES",
		"SMTP Backup Server": "backup.example.com", "SMTP Backup Server Port": "2525", "smtp_backup_account_name": "v",
		"SMTP Backup Account Password": "w", "SMTP Backup Server Period": "120", "SMTP Failover On Login Failure": "TRUE",
		"SMTP Max Connections": "3", "SMTP Idle Time": "0", "SMTP Data Timeout": "700", "SMTP Max Recipients": "50",
		"SMTP Rate Limit Messages": "10", "SMTP Rate Limit Interval": "60", "Long Email Body Directory": "/var/bodies",
		"Save Email Body as Attachment": "TRUE",
	})
	require.NoError(t, err)
	d, err := New(addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	assert.Equal(t, "mail.example.com:587", d.primary.addr)
	assert.Equal(t, "backup.example.com:2525", d.backup.addr)
	assert.Equal(t, driver.SecurityExplicit, d.backup.net.Security, "as for the first server")
	assert.Equal(t, "v", d.backup.net.User)
	assert.Equal(t, "w", d.backup.net.Password.Reveal())
	assert.Equal(t, 2*time.Minute, d.health.period)
	assert.True(t, d.set.oneByOne)
	assert.True(t, d.set.authFailover)
	assert.Equal(t, 3, d.primary.pool.max)
	assert.Zero(t, d.primary.pool.idle)
	assert.Equal(t, 700*time.Second, d.set.dataTimeout)
	assert.Equal(t, 50, d.set.maxRecipients)
	assert.Equal(t, 10, d.limiter.mails)
	assert.Equal(t, "/var/bodies", d.set.bodyDir)
	assert.True(t, d.set.bodyAlways)
	assert.Equal(t, DefaultTimeout, d.net.Timeout, "the limits of RFC 5321")

	d, err = New("mail.example.com")
	require.NoError(t, err)
	assert.Nil(t, d.backup)
	require.NoError(t, d.Close())

	addr, opts, err = FromParameters(map[string]string{"SMTP Server": "store.example.com", "SMTP Server Port": "24", "LMTP": "TRUE"})
	require.NoError(t, err)
	d, err = New(addr, opts...)
	require.NoError(t, err)
	assert.True(t, d.primary.lmtp)
	require.NoError(t, d.Close())

	var log bytes.Buffer
	addr, opts, err = FromParameters(map[string]string{"SMTP Server": "a.example", "Siebel Server": "siebsrv1"})
	require.NoError(t, err)
	d, err = New(addr, append(opts, driver.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
	require.NoError(t, err)
	assert.Contains(t, log.String(), `msg="parameter is ignored" driver=SMTP profile="" parameter="Siebel Server"`)
	require.NoError(t, d.Close())

	base := map[string]string{"SMTP Server": "a.example", "Enable TLS for SMTP": "TRUE"}
	for want, rows := range map[string]map[string]string{
		`"SMTP Backup Server"`:           {"SMTP Backup Account Name": "u"},
		`"SMTP Backup Account Password"`: {"SMTP Backup Server": "b.example", "SMTP Backup Account Name": "u"},
		`"SMTP Backup Account Name"`:     {"SMTP Backup Server": "b.example", "SMTP Backup Account Password": "s3cret"},
		`"Enable SSL for Backup SMTP"`:   {"SMTP Backup Server": "b.example", "Enable SSL for Backup SMTP": "TRUE", "Enable TLS for Backup SMTP": "TRUE"},
		"smtp.Backup":                    {"SMTP Backup Server": "b.example", "Enable TLS for Backup SMTP": "FALSE"},
		"SMTP Max Connections":           {"SMTP Max Connections": "0"},
		`"SMTP Server Port"`:             {"LMTP": "TRUE"},
	} {
		for k, v := range base {
			rows[k] = v
		}
		addr, opts, err := FromParameters(rows)
		if err == nil {
			_, err = New(addr, opts...)
		}
		require.ErrorContains(t, err, want)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
		assert.NotContains(t, err.Error(), "s3cret")
	}
}
