// Package spire runs the deployment of deploy/hosts on SVIDs of SPIRE: a server
// and an agent on each host, every trust domain federated with every other. The
// entries are those of the deployment's authorities. It holds tests only.
//
// The invariant: no authority of ours runs, and all that is told to the product's
// programs is another socket and the names of other trust domains.
package spire
