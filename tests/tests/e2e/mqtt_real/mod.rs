//! Services in the mode `mqtt` between the clients and brokers that people use: paho-mqtt, MQTT.js and
//! rumqttc; mosquitto and a cluster of `RabbitMQ`.

pub mod certificate;
mod client;
mod cluster;
mod events;
mod exchange;
mod rabbitmq;
mod rust;
