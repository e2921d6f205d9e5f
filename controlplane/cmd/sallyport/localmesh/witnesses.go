package localmesh

import (
	"context"
	"path/filepath"

	"github.com/sallyport-mesh/sallyport/controlplane"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/translog"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/witness"
)

// startWitnesses starts a witness in each environment, which cosigns the checkpoints of the
// others' logs.
func (m *Mesh) startWitnesses(context.Context) error {
	logs := map[string]string{} // the logs' public keys, by trust domain
	for _, env := range append([]string{mesh}, environments...) {
		td := trustDomain(env).Name()
		vkey, err := translog.Prepare(m.layout.logs(), td)
		if err != nil {
			return err
		}
		logs[td] = vkey
	}
	for _, env := range environments {
		if err := m.startWitness(env, logs); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mesh) startWitness(env string, logs map[string]string) error {
	own := trustDomain(env).Name()
	cfg := witness.Config{Name: own + "/sallyport/witness", Dir: filepath.Join(string(m.layout), env, "witness"), Log: m.cfg.Log}
	asked := controlplane.Witness{}
	for td, vkey := range logs {
		if td != own {
			cfg.Logs = append(cfg.Logs, witness.Log{Origin: translog.OriginOf(td), Keys: []string{vkey}})
			asked.For = append(asked.For, td)
		}
	}
	return m.atFreeAddresses(1, func(at []string) error {
		cfg.Listen = at[0]
		w, err := witness.New(cfg)
		if err != nil {
			return err
		}
		asked.Key, asked.URL = w.VKey(), "http://"+at[0]
		m.witnesses = append(m.witnesses, asked)
		m.witnessing.run(m.fail, w.Run)
		return nil
	})
}
