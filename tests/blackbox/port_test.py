"""A port has one server: the second is told so, though it has a spool of its own."""
import unittest

from harness import BlackBox, Config


class Port(BlackBox):
    def test_taken_port_is_named_and_the_first_server_keeps_it(self):
        first = self.server(Config())
        config = Config(spool={"path": "spool-2"}, log={"path": "log-2"},
                        node={"state_dir": "state-2"},
                        listener={"listen": f"127.0.0.1:{first.address[1]}"})
        path = f"{self.folder}/second.toml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(config.text())
        code, said = self.run_daemon("-c", path)
        self.assertEqual(code, 1)
        place = f"127.0.0.1:{first.address[1]}"
        self.assertIn(f"cannot listen on {place}: Address already in use", said)
        client = self.client(first)
        client.close()
        self.assertEqual(first.stop()["connections_refused"], 0)


if __name__ == "__main__":
    unittest.main()
